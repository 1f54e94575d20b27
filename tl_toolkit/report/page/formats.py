"""How the page writes figures, as the terminal does."""

import math

from tl_toolkit.report.content import Figure

MISSING = "–"
"""Stands where there is nothing to compute a figure from."""


def percent(share: float | None, digits: int = 1) -> str:
    """Return a share such as "95.4 %"."""
    return MISSING if share is None or math.isnan(share) else f"{100 * share:.{digits}f} %"


def value(figure: Figure) -> str:
    """Return a figure without its interval."""
    if figure.value is None or math.isnan(figure.value):
        return MISSING
    if figure.format == "percent":
        return percent(figure.value)
    return f"{figure.value:,.0f}" if figure.format == "count" else f"{figure.value:.4f}"


def interval(figure: Figure) -> str:
    """Return the interval of a figure, such as "(91 to 98 %)"; nothing where it has none."""
    if figure.value is None or figure.low is None or figure.high is None:
        return ""
    if figure.format == "percent":
        return f"({100 * figure.low:.0f} to {percent(figure.high, 0)})"
    digits = 0 if figure.format == "count" else 2
    return f"({figure.low:,.{digits}f} to {figure.high:,.{digits}f})"
