"""Confidence intervals of figures; how often they hold the truth is simulated in tests/benchmarks/intervals.py."""

import pytest
import torch

from tests.benchmarks.intervals import Model, simulate
from tl_toolkit.metrics.intervals import bootstrap, mean_interval, resample, share_interval, wilson


@pytest.mark.parametrize(
    ("successes", "images", "expected"),
    [(146, 153, (0.9086, 0.9777)), (30, 30, (0.8865, 1.0)), (0, 10, (0.0, 0.2775)), (5, 10, (0.2366, 0.7634))],
)
def test_wilson_gives_the_interval_of_tables(successes: int, images: int, expected: tuple[float, float]):
    assert wilson(successes, images) == pytest.approx(expected, abs=1e-4)


def test_wilson_of_no_images_leaves_everything_open():
    assert wilson(0, 0) == (0.0, 1.0)


def test_share_interval_of_a_share_of_images_is_that_of_wilson():
    assert share_interval(0.9, 0.9 * 0.1 / 153, 1000) == pytest.approx(wilson(0.9 * 153, 153))
    assert share_interval(1.0, 0.0, 153) == wilson(153, 153)


def test_resampled_images_are_the_same_each_time_and_others_with_another_seed():
    first, same, other = (resample(lambda weights: weights[:, 0], 20, 50, seed) for seed in (0, 0, 1))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
    values = torch.arange(20.0)
    assert mean_interval(values, 3.0) == mean_interval(values, 3.0) != mean_interval(values, 3.0, seed=1)


def test_resamples_draw_as_many_images_as_there_are():
    weights = resample(lambda weights: weights, 7, 30)
    assert weights.shape == (30, 7)
    assert torch.equal(weights.sum(dim=1), torch.full((30,), 7.0, dtype=torch.float64))


def test_bootstrap_of_a_mean_is_about_as_wide_as_its_standard_error_says():
    values = torch.randn(400, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    low, high = bootstrap(lambda weights: weights @ values / 400, 400).tolist()
    assert high - low == pytest.approx(2 * 1.96 * float(values.std()) / 20, rel=0.1)


def test_interval_of_equal_losses_is_not_empty_where_one_more_may_be_large():
    low, high = mean_interval(torch.zeros(30), 0.7)
    assert low == 0.0
    assert 0.02 < high < 0.3


@pytest.mark.parametrize("model", [Model(2, 0.9, 1.0), Model(3, 0.9, 2.0)], ids=["exact", "too sure"])
def test_intervals_hold_the_truth_about_as_often_as_they_promise(model: Model):
    held = simulate(model, images=100, repeats=40, seed=1, truth_images=50_000)
    assert {"accuracy", "macro_f1", "roc_auc", "brier_score", "calibration_error", "loss"} <= held.keys()
    for name, (share, width) in held.items():
        assert share >= 0.84, name  # 95 % less three standard errors of 40 repeats.
        assert width < 0.7, name
