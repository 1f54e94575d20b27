"""A grid of images, titled with their predicted and true classes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure
from PIL import Image

MAX_IMAGES = 25
COLUMNS = 5
INCHES_EACH = 1.9
MAX_NAME = 22
CORRECT, WRONG, UNKNOWN = "#1a7f37", "#cf222e", "#24292f"


@dataclass(frozen=True)
class LabelledImage:
    """An image with its predicted and its true class.

    Attributes:
        image: The decoded image.
        predicted: The likeliest class, or the labels that the image is given.
        probability: Its probability; None for labels.
        truth: The true class or labels, where they are known.
        name: File name to show; empty for none.
    """

    image: Image.Image
    predicted: str
    probability: float | None
    truth: str | None
    name: str = ""

    @property
    def title(self) -> str:
        """The prediction, with a sign and the truth where it is known."""
        predicted = _short(self.predicted) + ("" if self.probability is None else f" {self.probability:.0%}")
        if self.name:
            predicted = f"{_short(self.name, 2 * MAX_NAME)}\n{predicted}"
        if self.truth is None:
            return predicted
        return f"✓ {predicted}" if self.truth == self.predicted else f"✗ {predicted}\nis {_short(self.truth)}"

    @property
    def color(self) -> str:
        """Green where the prediction is correct, red where it is wrong, grey where the truth is unknown."""
        if self.truth is None:
            return UNKNOWN
        return CORRECT if self.truth == self.predicted else WRONG


def image_grid(images: Sequence[LabelledImage], columns: int = COLUMNS, proportions: float = 1.0) -> Figure:
    """Draw images in rows; a wrong prediction has a red frame and shows the true class.

    Args:
        images: At least one.
        columns: Images in a row.
        proportions: Width by height of the room for an image.
    """
    columns = min(columns, len(images))
    rows = math.ceil(len(images) / columns)
    titles = 0.35 + 0.2 * any(image.name for image in images)
    size = columns * INCHES_EACH * proportions, rows * (INCHES_EACH + titles)
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).flat
    for image, axes in zip(images, panels, strict=False):  # In this order, or zip takes a panel too many.
        axes.imshow(image.image, cmap="gray" if image.image.mode == "L" else None)
        axes.set_title(image.title, fontsize="small", color=image.color, parse_math=False)
        axes.set_xticks([])
        axes.set_yticks([])
        wrong = image.color == WRONG
        for spine in axes.spines.values():
            spine.set(edgecolor=image.color if wrong else "0.8", linewidth=2.5 if wrong else 0.8)
    for axes in list(panels):  # The empty end of the last row.
        axes.set_axis_off()
    return figure


def _short(name: str, most: int = MAX_NAME) -> str:
    readable = name.encode(errors="replace").decode()
    return readable if len(readable) <= most else f"{readable[: most - 1]}…"
