"""Geometry of the page's charts, in units of their view boxes; the templates draw it."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

WIDTH, HEIGHT = 440.0, 260.0
LEFT, RIGHT, TOP, BOTTOM = 50.0, 14.0, 26.0, 40.0
"""Margins, which hold the labels of the axes."""

MAX_DOTS = 30
"""A line with no more points marks each with a dot."""

STEPS = (1, 2, 2.5, 5, 10)
"""Distances between ticks, times a power of ten."""


@dataclass(frozen=True)
class Tick:
    """A mark on an axis: where it is and what it says."""

    at: float
    text: str


@dataclass(frozen=True)
class Axis:
    """Maps values to positions.

    Attributes:
        low: The value at `start`.
        high: The value at `end`.
        start: A position.
        end: Another, which may be lower, as those of vertical axes are.
    """

    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        """Return the position of a value."""
        share = (value - self.low) / ((self.high - self.low) or 1.0)
        return round(self.start + share * (self.end - self.start), 1)

    def ticks(self, text: Callable[[float], str], most: int = 6) -> list[Tick]:
        """Return marks at round values."""
        return [Tick(self.at(value), text(value)) for value in round_values(self.low, self.high, most)]


@dataclass(frozen=True)
class Line:
    """A line of a chart: its name, its kind for the colour, the path in SVG, and its points."""

    name: str
    kind: str
    path: str
    dots: Sequence[tuple[float, float]] = ()


@dataclass(frozen=True)
class Bar:
    """A rectangle."""

    x: float
    y: float
    width: float
    height: float
    kind: str


@dataclass(frozen=True)
class Stop:
    """A place of a chart where the pointer or an arrow key shows values.

    Attributes:
        x: Where it is.
        title: What it is, such as "epoch 3".
        values: Names and texts of the values there.
        dots: Where these lie vertically.
    """

    x: float
    title: str
    values: Sequence[tuple[str, str]]
    dots: Sequence[float]


@dataclass(frozen=True)
class Chart:
    """A chart with two axes.

    Attributes:
        key: Its name in the page.
        title: What it shows.
        summary: The same as a sentence, for those who do not see it.
        x_label: What the horizontal axis counts.
        x_ticks: Its marks.
        y_ticks: Marks of the vertical one.
        lines: What is drawn.
        bars: Rectangles below the lines.
        bands: Stretches of the horizontal axis with a name: start, end, name.
        diagonal: Whether both axes are the same and where they are equal is drawn.
        stops: Where values are shown.
        mark: A point with a text.
    """

    key: str
    title: str
    summary: str
    x_label: str
    x_ticks: Sequence[Tick]
    y_ticks: Sequence[Tick]
    stops: Sequence[Stop]
    lines: Sequence[Line] = ()
    bars: Sequence[Bar] = ()
    bands: Sequence[tuple[float, float, str]] = ()
    diagonal: bool = False
    mark: tuple[float, float, str] | None = None
    width: float = WIDTH
    height: float = HEIGHT
    left: float = field(default=LEFT, init=False)
    right: float = field(default=RIGHT, init=False)
    top: float = field(default=TOP, init=False)
    bottom: float = field(default=BOTTOM, init=False)


def horizontal(low: float, high: float, width: float = WIDTH) -> Axis:
    """Return the horizontal axis of a chart."""
    return Axis(low, high, LEFT, width - RIGHT)


def vertical(low: float, high: float, height: float = HEIGHT) -> Axis:
    """Return the vertical axis of a chart."""
    return Axis(low, high, height - BOTTOM, TOP)


def finite(values: Iterable[float | None]) -> list[float]:
    """Return the values that can be drawn."""
    return [value for value in values if value is not None and math.isfinite(value)]


def round_values(low: float, high: float, most: int = 6) -> list[float]:
    """Return round numbers between two values.

    Args:
        low: The first one is not lower.
        high: The last one is not higher.
        most: How many at most.
    """
    if not high > low:
        return [low]
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    # Rounding: 0.3 / 0.1 is 2.9999999999999996.
    step = next(power * each for each in STEPS if power * each * (1 + 1e-9) >= rough)
    first, last = math.ceil(round(low / step, 6)), math.floor(round(high / step, 6))
    return [round(k * step, 12) for k in range(first, last + 1)]


def padded(values: Sequence[float], least: float = -math.inf, most: float = math.inf) -> tuple[float, float]:
    """Return the range of values with some room around it, within bounds."""
    if not values:
        return 0.0, 1.0
    low, high = min(values), max(values)
    room = 0.08 * (high - low) or 0.05 * (abs(high) or 1.0)
    return max(low - room, least), min(high + room, most)


def draw_line(name: str, kind: str, points: Sequence[tuple[float, float | None]], x: Axis, y: Axis) -> Line:
    """Draw a line through points; one that is not finite interrupts it."""
    path, dots, pen = [], [], "M"
    for at, value in points:
        if value is None or not math.isfinite(value):
            pen = "M"
            continue
        dots.append((x.at(at), y.at(value)))
        path.append(f"{pen}{dots[-1][0]:g} {dots[-1][1]:g}")
        pen = "L"
    return Line(name, kind, "".join(path), dots if len(dots) <= MAX_DOTS else dots[:1] if len(dots) == 1 else ())
