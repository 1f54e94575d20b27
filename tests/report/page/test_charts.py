import dataclasses
import math

import pytest

from tests.helpers import report
from tl_toolkit.report.content import MAX_DRAWN, Calibration, Confusion, Epoch, MapPoint
from tl_toolkit.report.page.charts import Axis, draw_line, padded, round_values
from tl_toolkit.report.page.curves import curve_charts
from tl_toolkit.report.page.feature_map import HEIGHT, WIDTH, class_color, feature_map
from tl_toolkit.report.page.matrix import draw_matrix
from tl_toolkit.report.page.probabilities import calibration_charts


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (0.1, 0.4, [0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4]),
        (0, 18, [0, 5, 10, 15]),
        (0.9, 0.93, [0.9, 0.905, 0.91, 0.915, 0.92, 0.925, 0.93]),
        (3, 3, [3]),
    ],
)
def test_choose_ticks_gives_round_values_within_the_range(low: float, high: float, expected: list[float]) -> None:
    assert round_values(low, high) == pytest.approx(expected)


def test_draw_line_with_missing_value_is_interrupted() -> None:
    axis = Axis(0, 4, 0, 40)

    line = draw_line("val", "val", [(0, 1), (1, math.nan), (2, 2), (3, 3), (4, None)], axis, axis)

    assert line.path == "M0 10M20 20L30 30"
    assert line.dots == [(0, 10), (20, 20), (30, 30)]


def test_pad_equal_values_gives_a_range() -> None:
    low, high = padded([0.5, 0.5])

    assert low < 0.5 < high
    assert padded([]) == (0, 1)
    assert padded([0.99, 1.0], 0, 1)[1] == 1


def test_draw_curves_counts_epochs_over_stages_and_marks_what_is_kept() -> None:
    loss, score = curve_charts(report.example_epochs(), "accuracy")

    assert [name for _, _, name in score.bands] == ["linear-probe", "full"]
    assert score.bands[0][1] == score.bands[1][0]
    assert loss.stops[10].title == "full, epoch 1"
    assert loss.stops[10].x > loss.stops[9].x
    assert score.mark is not None
    assert loss.mark is not None
    assert score.mark[2] == "kept 89.4 %"
    assert score.mark[:2] == (score.stops[-1].x, score.stops[-1].dots[1])


def test_draw_curves_of_diverged_run_draws_what_is_finite() -> None:
    epochs = [Epoch("full", k, math.nan, math.inf, None, math.nan, 0.1) for k in (1, 2)]

    loss, score = curve_charts(epochs, "accuracy")

    assert loss.lines == score.lines == []
    assert score.mark is None
    assert loss.stops[0].values == [("train", "–"), ("val", "–")]
    assert score.stops[0].values == [("val", "–")]


def test_draw_calibration_without_temperature_draws_reliability_once() -> None:
    calibration = report.example_calibration()
    plain = Calibration(1.0, calibration.before, calibration.before, (0.08, 0.08), ())

    assert [chart.title for chart in calibration_charts(plain)] == ["Reliability: error 8.0 %"]
    assert [chart.key for chart in calibration_charts(calibration)] == ["before", "after", "coverage"]


def test_draw_calibration_leaves_empty_bins_out() -> None:
    calibration = report.example_calibration()
    empty = dataclasses.replace(calibration.after[0], images=0, accuracy=math.nan, confidence=math.nan)

    [_, after, _] = calibration_charts(dataclasses.replace(calibration, after=[empty, *calibration.after[1:]]))

    assert len(after.stops) == len(calibration.after) - 1


def test_draw_map_keeps_proportions_within_the_frame() -> None:
    corners = [(0.0, 0.0), (100.0, 0.0), (0.0, 10.0), (100.0, 10.0)]
    found = feature_map([MapPoint(x, y, "cat", f"{x}.jpg", x > 0) for x, y in corners])

    assert found is not None
    (left, bottom), (right, _), (_, top), _ = [tuple(point[:2]) for point in found.points]
    assert right - left == pytest.approx(10 * (bottom - top), rel=0.01)
    assert 0 < left < right < WIDTH
    assert 0 < top < bottom < HEIGHT
    assert found.mistakes == 2
    assert found.classes[0].right.count("h0") == 2


def test_draw_map_without_finite_point_is_none() -> None:
    assert feature_map([MapPoint(math.nan, 0, "cat", "a.jpg", True)]) is None
    assert feature_map([]) is None


def test_color_classes_gives_each_its_own() -> None:
    assert len({class_color(k) for k in range(100)}) == 100


def test_draw_matrix_shades_rows_and_strengthens_mistakes() -> None:
    found = draw_matrix(Confusion(["a", "b"], {(0, 0): 99, (0, 1): 1, (1, 1): 0}, {}, ()))

    assert found is not None
    assert [cell.style for cell in found.rows[0]] == ["right l10", "wrong l1"]
    assert [cell.count for cell in found.rows[1]] == [0, 0]


@pytest.mark.parametrize("classes", [0, MAX_DRAWN + 1])
def test_draw_matrix_of_none_or_too_many_classes_is_none(classes: int) -> None:
    assert draw_matrix(Confusion([str(k) for k in range(classes)], {}, {}, ())) is None
