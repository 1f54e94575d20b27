"""The verdict on a model, in a sentence."""

import pytest

from tl_toolkit.metrics.paired_figures import Difference, Estimate, ModelFigures
from tl_toolkit.metrics.verdict import Verdict, format_p, judge


def verdict(
    value: float, low: float, high: float, p: float, tests: int = 1, detectable: float | None = 0.05
) -> Verdict:
    return Verdict("accuracy", Difference(value, low, high, p), p, tests, detectable)


@pytest.mark.parametrize(
    ("found", "sentence"),
    [
        (
            verdict(0.021, 0.002, 0.0394, 0.031, detectable=0.019),
            "b is better than a: its top-1 is 2.1 points higher (95 % interval +0.2 to +3.9 points, p = 0.031) on the "
            "same 1,737 test images, which would show a difference from about 1.9 points on.",
        ),
        (
            verdict(-0.3, -0.4, -0.2, 1e-9, tests=3),
            "b is worse than a: its top-1 is 30.0 points lower (95 % interval -40.0 to -20.0 points, p < 0.001 after "
            "Holm's correction for 3 comparisons) on the same 1,737 test images, which would show a difference from "
            "about 5.0 points on.",
        ),
        (
            verdict(0.0, -0.024, 0.024, 1.0, detectable=None),
            "b is not distinguishable from a: its top-1 is the same (95 % interval -2.4 to +2.4 points, p = 1.00) on "
            "the same 1,737 test images, which are too few to show a difference.",
        ),
    ],
    ids=["better", "worse", "the same"],
)
def test_sentence_of_a_verdict_has_difference_interval_p_and_what_could_be_seen(found: Verdict, sentence: str):
    assert found.sentence("b", "a", 1737, "test images") == sentence


@pytest.mark.parametrize(("p", "outcome"), [(0.049, "better"), (0.05, "not distinguishable")])
def test_outcome_is_that_of_the_corrected_p(p: float, outcome: str):
    assert Verdict("accuracy", Difference(0.1, 0.01, 0.2, 0.02), p, 2, 0.1).outcome == outcome


def test_judge_by_mean_average_precision_finds_what_could_be_seen_by_the_interval():
    figures = ModelFigures({"mean_average_precision": Estimate(0.5, 0.4, 0.6)}, {
        "mean_average_precision": Difference(0.1, 0.0, 0.196, 0.06)}, 0, 0)  # fmt: skip
    found = judge(figures, "mean_average_precision", 100, 0.06, 1)
    assert found.detectable == pytest.approx((1.96 + 0.8416) * 0.05, abs=1e-3)
    assert "its mAP is 10.0 points higher" in found.sentence("b", "a", 100, "val images")


@pytest.mark.parametrize(
    ("p", "text"), [(0.0004, "p < 0.001"), (0.031, "p = 0.031"), (0.5, "p = 0.50"), (1.0, "p = 1.00")]
)
def test_format_p(p: float, text: str):
    assert format_p(p) == text
