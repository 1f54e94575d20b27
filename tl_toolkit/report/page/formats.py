"""How the page writes figures, as the terminal does."""

import math
from collections.abc import Iterable

from tl_toolkit.report.content import Figure

SCALE_STARTS = (0.0, 0.5, 0.75, 0.9)

MISSING = "–"
"""Stands where there is nothing to compute a figure from."""


def is_known(number: float | None) -> bool:
    """Return whether there is a number."""
    return number is not None and math.isfinite(number)


def percent(share: float | None, digits: int = 1) -> str:
    """Return a share such as "95.4 %"."""
    return f"{100 * share:.{digits}f} %" if share is not None and math.isfinite(share) else MISSING


def number(measured: float | None) -> str:
    """Return a loss and the like."""
    return f"{measured:.4f}" if measured is not None and math.isfinite(measured) else MISSING


def value(figure: Figure) -> str:
    """Return a figure without its interval."""
    if figure.value is None or not math.isfinite(figure.value):
        return MISSING
    if figure.format == "percent":
        return percent(figure.value)
    return f"{figure.value:,.0f}" if figure.format == "count" else number(figure.value)


def interval(figure: Figure) -> str:
    """Return the interval of a figure, such as "(91 to 98 %)"; nothing where it has none."""
    if not is_known(figure.value) or figure.low is None or figure.high is None or math.isnan(figure.low + figure.high):
        return ""
    if figure.format == "percent":
        return f"({100 * figure.low:.0f} to {percent(figure.high, 0)})"
    digits = 0 if figure.format == "count" else 2
    return f"({figure.low:,.{digits}f} to {figure.high:,.{digits}f})"


def on_scale(share: float, start: float = 0.0) -> str:
    """Return where a share lies on a scale from `start` to 1 that is as wide as its element."""
    return f"{100 * min(max((share - start) / (1 - start), 0.0), 1.0):.2f}%"


def scale_start(figures: Iterable[Figure]) -> float:
    """Return where a scale of figures may start, so that high ones can be told apart."""
    shares = [share for figure in figures if figure.format == "percent" for share in (figure.value, figure.low)]
    least = min((share for share in shares if share is not None and math.isfinite(share)), default=0.0)
    return max(start for start in SCALE_STARTS if start <= max(least, 0.0))
