"""The confusion matrix as the rows of a table."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tl_toolkit.report.content import MAX_DRAWN, Confusion

LEVELS = 10
"""Shades of a cell."""


@dataclass(frozen=True)
class Cell:
    """A cell: its images, and its class in the style sheet."""

    count: int
    style: str


@dataclass(frozen=True)
class Matrix:
    """What is drawn.

    Attributes:
        names: Of the classes.
        rows: A row of cells for each true class.
        small: Whether cells are too small for their numbers.
    """

    names: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    small: bool

    @property
    def style(self) -> str:
        """What the style sheet reckons the size of cells from."""
        longest = max(len(name) for name in self.names)
        return f":root{{--classes:{len(self.names)};--longest:{longest}}}"


EMPTY = Cell(0, "")


def draw_matrix(confusion: Confusion) -> Matrix | None:
    """Return the matrix; None if there are too many classes."""
    names = confusion.class_names
    if not 0 < len(names) <= MAX_DRAWN:
        return None
    totals = [0] * len(names)
    for (truth, _), count in confusion.counts.items():
        totals[truth] += count
    rows = [[EMPTY] * len(names) for _ in names]
    for (truth, predicted), count in confusion.counts.items():
        if count:
            rows[truth][predicted] = Cell(count, _style(truth == predicted, count / totals[truth]))
    return Matrix(names, rows, small=len(names) > 24)


def _style(right: bool, share: float) -> str:
    """Return the shade of a cell. Few mistakes matter too: theirs grows with the root of their share."""
    level = max(math.ceil(LEVELS * (share if right else math.sqrt(share))), 1)
    return f"{'right' if right else 'wrong'} l{level}"
