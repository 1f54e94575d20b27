"""A grid of images titled with what they are and what a model took them for."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure
from PIL import Image

from tl_toolkit.report.figures import save_figure

MAX_PICTURES = 25
COLUMNS = 5
INCHES_EACH = 1.9
LONGEST_NAME = 22
RIGHT, WRONG, UNKNOWN = "#1a7f37", "#cf222e", "#24292f"


@dataclass(frozen=True)
class LabelledImage:
    """An image and what is said of it.

    Attributes:
        image: The image, decoded.
        predicted: The likeliest class.
        probability: Its probability.
        truth: The class it is, where that is known.
    """

    image: Image.Image
    predicted: str
    probability: float
    truth: str | None

    @property
    def title(self) -> str:
        """Prediction and truth, with a sign where these can be compared."""
        predicted = f"{_short(self.predicted)} {self.probability:.0%}"
        if self.truth is None:
            return predicted
        return f"✓ {predicted}" if self.truth == self.predicted else f"✗ {predicted}\nis {_short(self.truth)}"

    @property
    def color(self) -> str:
        """Green where the prediction is right, red where it is wrong."""
        if self.truth is None:
            return UNKNOWN
        return RIGHT if self.truth == self.predicted else WRONG


def picture_grid(pictures: Sequence[LabelledImage]) -> Figure:
    """Sets pictures out in rows; a wrong one has a red frame and says what it is.

    Args:
        pictures: At least one.
    """
    columns = min(COLUMNS, len(pictures))
    rows = math.ceil(len(pictures) / columns)
    figure = Figure(figsize=(columns * INCHES_EACH, rows * (INCHES_EACH + 0.35)), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).flat
    for axes, picture in zip(panels, pictures, strict=False):
        axes.imshow(picture.image, cmap="gray" if picture.image.mode == "L" else None)
        axes.set_title(picture.title, fontsize="small", color=picture.color, parse_math=False)
        axes.set_xticks([])
        axes.set_yticks([])
        wrong = picture.color == WRONG
        for spine in axes.spines.values():
            spine.set(edgecolor=picture.color if wrong else "0.8", linewidth=2.5 if wrong else 0.8)
    for axes in list(panels):  # What the last row does not fill.
        axes.set_axis_off()
    return figure


def write_grid(pictures: Sequence[LabelledImage], path: Path) -> None:
    """Writes the grid.

    Args:
        pictures: At least one.
        path: A .png, .pdf or .svg file.

    Raises:
        UsageError: The file's name ends in something else.
    """
    save_figure(picture_grid(pictures), path)


def _short(name: str) -> str:
    readable = name.encode(errors="replace").decode()
    return readable if len(readable) <= LONGEST_NAME else f"{readable[: LONGEST_NAME - 1]}…"
