import math

import pytest

from tl_toolkit.report.content import Figure
from tl_toolkit.report.page import formats


@pytest.mark.parametrize(
    ("figure", "value", "interval"),
    [
        (Figure("accuracy", 0.954, 0.91, 0.978), "95.4 %", "(91 to 98 %)"),
        (Figure("accuracy", 1.0, 0.757, 1.0), "100.0 %", "(76 to 100 %)"),
        (Figure("accuracy", 0.5), "50.0 %", ""),
        (Figure("accuracy", None, 0.1, 0.2), "–", ""),
        (Figure("accuracy", math.nan, 0.1, 0.2), "–", ""),
        (Figure("loss", 0.31274, 0.24, 0.41, "number"), "0.3127", "(0.24 to 0.41)"),
        (Figure("images", 12345, format="count"), "12,345", ""),
    ],
)
def test_write_figure_as_the_terminal_does(figure: Figure, value: str, interval: str) -> None:
    assert (formats.value(figure), formats.interval(figure)) == (value, interval)


def test_place_share_on_scale_stays_on_it() -> None:
    assert [formats.on_scale(share) for share in (-0.1, 0.25, 1.1)] == ["0.00%", "25.00%", "100.00%"]
    assert formats.on_scale(0.9, start=0.75) == "60.00%"


@pytest.mark.parametrize(
    ("figures", "start"),
    [
        ([Figure("a", 0.99, 0.92, 1.0), Figure("loss", 0.1, format="number")], 0.9),
        ([Figure("a", 0.99), Figure("b", 0.8, 0.7, 0.9)], 0.5),
        ([Figure("a", 0.3), Figure("b", None)], 0.0),
        ([Figure("correlation", -0.2)], 0.0),
        ([], 0.0),
    ],
)
def test_start_scale_below_every_figure_and_interval(figures: list[Figure], start: float) -> None:
    assert formats.scale_start(figures) == start
