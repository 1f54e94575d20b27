import itertools
import math

import pytest

from tl_toolkit.cli.curves import Curve, sparkline


def test_sparkline_draws_lowest_to_highest():
    assert sparkline([0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0], 8) == "▁▂▃▄▅▆▇█"
    assert sparkline([3.0, -1.0, 3.0], 3) == "█▁█"


def test_sparkline_in_ascii_uses_ascii_signs():
    line = sparkline([0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0], 8, ascii_only=True)
    assert line == "_.:-=+*#"


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ([], "    "),
        ([None, math.nan, math.inf, None], "    "),
        ([None, 1.0, math.nan, 2.0], " ▁ █"),
        ([0.0, 0.0, 0.0, 0.0], "▅▅▅▅"),
        ([0.5], "▅▅▅▅"),
        ([1.0, 3.0], "▁▁██"),
        ([1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 3.0, 5.0], "▁▁▁█"),
        ([1000.0, 1000.1, 1000.0, 1000.1], "▄▅▄▅"),
    ],
    ids=["none", "gaps", "some gaps", "zeros", "one", "fewer than signs", "more than signs", "noise"],
)
def test_sparkline_of_odd_values_is_as_wide_as_asked(values: list[float | None], line: str):
    assert sparkline(values, 4) == line


def test_curve_fills_what_each_value_is_of():
    curve = Curve()
    curve.add(0.25, 1.0)
    curve.add(0.5, 2.0)
    assert sparkline(curve.values(), 8) == "▁▁██    "


def test_curve_keeps_the_mean_of_values_that_are_closer_than_its_parts():
    curve = Curve()
    for number in range(10_000):
        curve.add((number + 1) / 10_000, float(number % 2))
    assert len(curve.values()) < 200
    assert all(abs(value - 0.5) < 0.02 for value in curve.values())


def test_curve_does_not_move_what_it_has_drawn():
    curve, drawn = Curve(), []
    for number in range(480):
        curve.add((number + 1) / 480, float(number))
        drawn.append([value is not None for value in curve.values()])
    settled = curve.values()
    curve.add(1.0, 0.0)
    assert curve.values()[:-1] == settled[:-1]
    assert all(sum(before) <= sum(after) for before, after in itertools.pairwise(drawn))


def test_curve_leaves_a_gap_where_a_value_is_not_finite():
    curve = Curve()
    curve.add(0.25, 1.0)
    curve.add(0.5, math.nan)
    curve.add(0.75, 2.0)
    assert sparkline(curve.values(), 4) == "▁ █ "


def test_curve_with_a_value_that_is_not_finite_keeps_the_others_of_its_part():
    curve = Curve()
    for number, value in enumerate([1.0, math.nan, 3.0], start=1):
        curve.add(number / 1000, value)
    assert curve.values()[0] == 2.0
