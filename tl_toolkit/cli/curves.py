"""Small curves in a line of text, drawn over the whole length of a stage."""

import math
from collections.abc import Sequence

BLOCKS = "▁▂▃▄▅▆▇█"
SIGNS = "_.:-=+*#"
"""Where an encoding or a font has no blocks."""

CELLS = 96
"""Parts of a stage whose values are kept: several for each sign of the widest curve."""

LEAST_SPAN = 0.02
"""Smallest range that fills the height of a curve, as a share of its largest value: less is noise, not a course."""


class Curve:
    """A figure over the length of a stage, in constant memory.

    Each part of the stage keeps the mean of its values, so that what was drawn once stays where it is.
    """

    def __init__(self) -> None:
        self._sums = [0.0] * CELLS
        self._counts = [0] * CELLS
        self._end = 0.0

    def add(self, end: float, value: float) -> None:
        """Add the value of what came since the last one.

        Args:
            end: Where it ends, from 0 to 1; the next value counts from there.
            value: The figure; one that is not finite leaves a gap.
        """
        first = min(int(self._end * CELLS), CELLS - 1)
        last = min(max(first + 1, math.ceil(round(end * CELLS, 6))), CELLS)
        self._end = end
        if math.isfinite(value):
            for cell in range(first, last):
                self._sums[cell] += value
                self._counts[cell] += 1

    def values(self) -> list[float | None]:
        """Return the mean of each part of the stage; None where there is none (yet)."""
        pairs = zip(self._sums, self._counts, strict=True)
        return [total / count if count else None for total, count in pairs]


def sparkline(values: Sequence[float | None], width: int, ascii_only: bool = False) -> str:
    """Draw values as a line of signs, from their lowest to their highest.

    Args:
        values: Evenly spaced. None and what is not finite is a gap.
        width: Number of signs.
        ascii_only: Draw with ASCII signs instead of blocks.

    Returns:
        The line, `width` long, with a space for each gap.
    """
    signs = SIGNS if ascii_only else BLOCKS
    means = [_mean(values, cell, width) for cell in range(width)]
    known = [mean for mean in means if mean is not None]
    if not known:
        return " " * width
    low, high = min(known), max(known)
    span = max(high - low, LEAST_SPAN * max(abs(low), abs(high)))
    bottom = (low + high - span) / 2  # A flat curve runs in the middle.
    top = len(signs) - 1
    heights = [None if mean is None else (mean - bottom) / span * top if span else top / 2 for mean in means]
    # Half a step rounds up, whatever the rounding before it.
    return "".join(" " if height is None else signs[math.floor(height + 0.5 + 1e-6)] for height in heights)


def _mean(values: Sequence[float | None], cell: int, width: int) -> float | None:
    """Return the mean of the values that fall on a sign; where there are fewer values than signs, of the nearest."""
    start = cell * len(values) // width
    end = max(start + 1, (cell + 1) * len(values) // width)
    known = [value for value in values[start:end] if value is not None and math.isfinite(value)]
    return sum(known) / len(known) if known else None
