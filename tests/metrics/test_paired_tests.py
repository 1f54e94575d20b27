"""Tests of whether two models differ: against SciPy, and in simulations with a known truth."""

import math

import pytest
import torch
from scipy.stats import binom, binomtest

from tl_toolkit.metrics.intervals import Z
from tl_toolkit.metrics.paired_tests import accuracy_difference, detectable_difference, holm, mcnemar

COUNTS = [(0, 1), (1, 0), (5, 0), (3, 3), (10, 4), (7, 25), (100, 140), (5000, 5200)]


@pytest.mark.parametrize(("only_first", "only_second"), COUNTS)
def test_mcnemar_is_the_binomial_test_with_half_of_the_chance_of_what_was_seen(only_first: int, only_second: int):
    images, fewer = only_first + only_second, min(only_first, only_second)
    expected = 1.0
    if only_first != only_second:
        expected = binomtest(fewer, images, 0.5).pvalue - binom.pmf(fewer, images, 0.5)
    assert mcnemar(only_first, only_second) == pytest.approx(expected, rel=1e-6)


def test_mcnemar_of_models_that_are_never_right_alone_is_one():
    assert mcnemar(0, 0) == 1.0


def draw(images: int, only_first: float, only_second: float, times: int, seed: int) -> list[tuple[int, int]]:
    """Draw how many images only one of two models has right, of models with these shares."""
    shares = torch.tensor([only_first, only_second, 1 - only_first - only_second], dtype=torch.float64)
    generator = torch.Generator().manual_seed(seed)
    kinds = torch.multinomial(shares, times * images, replacement=True, generator=generator).view(times, images)
    return list(zip((kinds == 0).sum(1).tolist(), (kinds == 1).sum(1).tolist(), strict=True))


@pytest.mark.parametrize(("images", "discordant"), [(40, 0.1), (150, 0.1), (150, 0.3), (1000, 0.05)])
def test_mcnemar_of_equally_good_models_finds_a_difference_in_at_most_one_of_twenty(images: int, discordant: float):
    pairs = draw(images, discordant / 2, discordant / 2, 4000, seed=1)
    share = sum(mcnemar(*pair) < 0.05 for pair in pairs) / len(pairs)
    assert share <= 0.055  # 0.05 and one and a half standard errors.
    assert share >= 0.02 or images * discordant < 10  # It is not only cautious.


@pytest.mark.parametrize(("images", "first", "second"), [(150, 0.05, 0.05), (150, 0.02, 0.1), (1000, 0.05, 0.08)])
def test_accuracy_difference_holds_the_truth_in_nineteen_of_twenty(images: int, first: float, second: float):
    intervals = [accuracy_difference(*pair, images) for pair in draw(images, first, second, 2000, seed=2)]
    share = sum(low <= second - first <= high for low, high in intervals) / len(intervals)
    assert 0.93 <= share <= 0.97


@pytest.mark.parametrize(("only_first", "only_second"), COUNTS)
def test_accuracy_difference_leaves_out_none_where_the_score_test_finds_one(only_first: int, only_second: int):
    low, high = accuracy_difference(only_first, only_second, 20_000)
    differs = abs(only_first - only_second) / math.sqrt(only_first + only_second) > Z
    assert (low <= 0 <= high) == (not differs)
    assert low <= (only_second - only_first) / 20_000 <= high


def test_accuracy_difference_of_equal_models_is_wider_with_fewer_images():
    few, many = accuracy_difference(0, 0, 30), accuracy_difference(0, 0, 3000)
    assert few == pytest.approx((-0.1135, 0.1135), abs=1e-4)  # z² / (n + z²)
    assert many[1] < 0.0014


@pytest.mark.parametrize("seconds", [0, 30])
def test_accuracy_difference_at_the_ends_of_the_range_ends_there(seconds: int):
    low, high = accuracy_difference(30 - seconds, seconds, 30)
    assert (low, high)[seconds > 0] == pytest.approx(1 if seconds else -1)
    assert low < high


@pytest.mark.parametrize(("images", "discordant"), [(153, 0.1), (1000, 0.05), (1737, 0.1)])
def test_detectable_difference_is_found_in_four_of_five(images: int, discordant: float):
    found = detectable_difference(round(images * discordant), images)
    assert found is not None
    first, second = (discordant - found) / 2, (discordant + found) / 2
    pairs = draw(images, max(0.0, first), second, 2000, seed=3)
    assert 0.75 <= sum(mcnemar(*pair) < 0.05 for pair in pairs) / len(pairs) <= 0.9


def test_detectable_difference_of_few_images_is_none():
    assert detectable_difference(0, 0) is None
    assert detectable_difference(2, 3) is None
    assert detectable_difference(0, 8) == pytest.approx(0.72, abs=0.01)


def test_holm_corrects_the_smallest_most_and_keeps_the_order():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.6, 0.9]) == [1.0, 1.0]
    assert holm([0.02]) == [0.02]
    assert holm([]) == []
