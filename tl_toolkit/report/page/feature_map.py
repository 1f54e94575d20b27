"""The map of the features: a dot for each image."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tl_toolkit.report.content import MapPoint
from tl_toolkit.report.page.charts import finite
from tl_toolkit.text import printable

WIDTH, HEIGHT, MARGIN = 800.0, 560.0, 16.0
NAMED = 20
"""Classes that the legend can hold; the reader of more chooses one from a list."""

FIRST = (
    *("0.55 0.16 255", "0.7 0.16 65", "0.62 0.12 165", "0.62 0.19 350"),
    *("0.5 0.15 300", "0.72 0.12 215", "0.55 0.15 35", "0.7 0.14 110"),
)
"""Colours of the first classes in OKLCH, which differ for the colour-blind too."""

GOLDEN_ANGLE = 137.508
"""Hues at this distance are as different as possible, however many there are."""

LIGHTNESS = (0.62, 0.72, 0.52)
CROSS = 4.0


@dataclass(frozen=True)
class MapClass:
    """The dots of a class: right ones as zero-length lines with round ends, mistakes as crosses."""

    name: str
    color: str
    images: int
    right: str
    wrong: str


@dataclass(frozen=True)
class FeatureMap:
    """What is drawn.

    Attributes:
        classes: In the order of their names.
        points: For the script: x, y, class, name of the image, whether it is right.
        mistakes: How many are wrong.
        named: Whether the legend holds all classes.
    """

    classes: Sequence[MapClass]
    points: Sequence[list[Any]]
    mistakes: int
    named: bool
    width: float = WIDTH
    height: float = HEIGHT


def feature_map(points: Sequence[MapPoint]) -> FeatureMap | None:
    """Draw the map, with both directions to the same scale; None if there is nothing to draw."""
    points = [point for point in points if len(finite((point.x, point.y))) == 2]
    if not points:
        return None
    counts = Counter(point.class_name for point in points)
    names = sorted(counts)
    index = {name: k for k, name in enumerate(names)}
    right, wrong = [[""] * len(names) for _ in range(2)]
    placed: list[list[Any]] = []
    for point, (x, y) in zip(points, _placed(points), strict=True):
        k = index[point.class_name]
        if point.right:
            right[k] += f"M{x:g} {y:g}h0"
        else:
            arm = f"{2 * CROSS:g}"
            wrong[k] += f"M{x - CROSS:g} {y - CROSS:g}l{arm} {arm}m0-{arm}l-{arm} {arm}"
        placed.append([x, y, k, printable(point.name), int(point.right)])
    classes = [MapClass(name, class_color(k), counts[name], right[k], wrong[k]) for k, name in enumerate(names)]
    return FeatureMap(classes, placed, sum(not point.right for point in points), len(names) <= NAMED)


def class_color(k: int) -> str:
    """Return the colour of a class, which is seen on white and on black."""
    if k < len(FIRST):
        return f"oklch({FIRST[k]})"
    return f"oklch({LIGHTNESS[k % 3]:g} 0.15 {(25 + GOLDEN_ANGLE * k) % 360:.0f})"


def _placed(points: Sequence[MapPoint]) -> list[tuple[float, float]]:
    xs, ys = [point.x for point in points], [point.y for point in points]
    spread = max((max(xs) - min(xs)) / (WIDTH - 2 * MARGIN), (max(ys) - min(ys)) / (HEIGHT - 2 * MARGIN)) or 1.0
    middle_x, middle_y = (min(xs) + max(xs)) / 2, (min(ys) + max(ys)) / 2
    return [
        (round(WIDTH / 2 + (x - middle_x) / spread, 1), round(HEIGHT / 2 - (y - middle_y) / spread, 1))
        for x, y in zip(xs, ys, strict=True)
    ]
