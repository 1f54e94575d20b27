"""How the page writes figures, as the terminal does."""

import math

from tl_toolkit.report.content import Figure

MISSING = "–"
"""Stands where there is nothing to compute a figure from."""


def is_known(number: float | None) -> bool:
    """Return whether there is a number."""
    return number is not None and math.isfinite(number)


def percent(share: float | None, digits: int = 1) -> str:
    """Return a share such as "95.4 %"."""
    return f"{100 * share:.{digits}f} %" if share is not None and math.isfinite(share) else MISSING


def value(figure: Figure) -> str:
    """Return a figure without its interval."""
    if figure.value is None or not math.isfinite(figure.value):
        return MISSING
    if figure.format == "percent":
        return percent(figure.value)
    return f"{figure.value:,.0f}" if figure.format == "count" else f"{figure.value:.4f}"


def interval(figure: Figure) -> str:
    """Return the interval of a figure, such as "(91 to 98 %)"; nothing where it has none."""
    if not is_known(figure.value) or figure.low is None or figure.high is None:
        return ""
    if figure.format == "percent":
        return f"({100 * figure.low:.0f} to {percent(figure.high, 0)})"
    digits = 0 if figure.format == "count" else 2
    return f"({figure.low:,.{digits}f} to {figure.high:,.{digits}f})"


def on_scale(share: float) -> str:
    """Return where a share lies on a scale that is as wide as its element."""
    return f"{100 * min(max(share, 0.0), 1.0):.2f}%"
