import math

import pytest
import torch

from tl_toolkit.metrics.calibration import (
    BINS,
    CoverageRow,
    calibration_error,
    coverage_curve,
    coverage_rows,
    reliability_bins,
)
from tl_toolkit.metrics.predictions import Predictions


def of(probabilities: list[float], right: list[bool]) -> Predictions:
    """Predictions of two classes, the likeliest of them with these probabilities."""
    shares = torch.tensor(probabilities, dtype=torch.float64)
    logits = torch.stack([shares, 1 - shares], dim=1).log()
    return Predictions(logits, torch.tensor([0 if each else 1 for each in right]), [])


def test_reliability_bins_compare_confidence_with_accuracy():
    bins = reliability_bins(of([0.61, 0.63, 0.99], [True, False, True]))
    assert [(each.images, each.accuracy) for each in bins] == [(2, 0.5), (1, 1.0)]
    assert [each.confidence for each in bins] == pytest.approx([0.62, 0.99])
    assert [(each.low, each.high) for each in bins] == [(9 / BINS, 10 / BINS), (14 / BINS, 1.0)]


def test_calibration_error_is_the_mean_difference_weighted_by_images():
    predictions = of([0.61, 0.63, 0.99], [True, False, True])
    assert calibration_error(predictions) == pytest.approx((2 * 0.12 + 0.01) / 3)


def test_calibration_error_of_probabilities_that_are_right_falls_with_the_temperature():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(20_000, 5, generator=generator)
    targets = torch.multinomial(logits.softmax(dim=1), 1, generator=generator)[:, 0]
    predictions = Predictions(4 * logits, targets, [])
    assert calibration_error(predictions) > 0.3
    assert calibration_error(predictions, 4.0) < 0.02


def test_coverage_rows_answer_the_surest_images_first():
    predictions = of([0.9, 0.6, 0.8, 0.7], [True, False, True, True])
    assert coverage_rows(predictions, coverages=(1.0, 0.75, 0.5)) == [
        CoverageRow(pytest.approx(0.6), 4, 4, 3),
        CoverageRow(pytest.approx(0.7), 4, 3, 3),
        CoverageRow(pytest.approx(0.8), 4, 2, 2),
    ]


def test_coverage_rows_answer_images_with_equal_probability_together():
    predictions = of([0.9, 0.9, 0.9, 0.6], [True, False, True, True])
    rows = coverage_rows(predictions, coverages=(0.25, 0.5, 0.75))
    assert [(row.answered, row.right) for row in rows] == [(3, 2)]
    assert (rows[0].coverage, rows[0].accuracy) == (0.75, 2 / 3)


def test_coverage_curve_ends_with_all_images():
    predictions = of([0.9, 0.6, 0.8, 0.7], [True, False, True, True])
    curve = coverage_curve(predictions)
    assert [(coverage, accuracy) for _, coverage, accuracy in curve] == [(0.25, 1), (0.5, 1), (0.75, 1), (1.0, 0.75)]


def test_figures_of_nothing_are_empty():
    nothing = Predictions(torch.zeros(0, 3), torch.zeros(0, dtype=torch.long), [])
    assert reliability_bins(nothing) == ()
    assert math.isnan(calibration_error(nothing))
    assert coverage_curve(nothing) == []


def test_images_whose_logits_are_no_numbers_are_in_no_bin_and_answered_last():
    predictions = Predictions(torch.tensor([[math.nan, 0.0], [3.0, 0.0]]), torch.tensor([0, 0]), [])
    assert [each.images for each in reliability_bins(predictions)] == [1]
    assert [row.answered for row in coverage_rows(predictions, coverages=(0.5, 1.0))] == [1, 2]


def test_one_logit_has_the_bins_of_two():
    torch.manual_seed(0)
    one, targets = torch.randn(50, 1), torch.randint(0, 2, (50,))
    two = torch.cat([torch.zeros_like(one), one], dim=1)
    assert calibration_error(Predictions(one, targets, [], loss="bce")) == pytest.approx(
        calibration_error(Predictions(two, targets, []))
    )
