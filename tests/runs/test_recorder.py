"""Which weights a run keeps."""

import pytest

from tests.helpers.events import eval_record
from tl_toolkit.config.choices import Tune
from tl_toolkit.events import LAST_STAGE, PROBE, TUNE
from tl_toolkit.training.model_selection import is_best

VAL_IMAGES = 100


def kept(tune: Tune, *judged: tuple[str, float]) -> list[tuple[str, float]]:
    """The evaluations that were the best when they came."""
    records = [eval_record(stage, number, 9, val_accuracy=value) for number, (stage, value) in enumerate(judged)]
    best, found = None, []
    for number, record in enumerate(records):
        if is_best(record, best, records[: number + 1], tune, VAL_IMAGES):
            best = record
            found.append((record.stage, record.val_accuracy))
    return found


def test_is_best_takes_the_last_epoch_of_a_probe():
    assert kept("auto", (PROBE, 0.9), (PROBE, 0.7))[-1] == (PROBE, 0.7)


@pytest.mark.parametrize(
    ("gain", "after", "taken"), [(0, 0.91, False), (1, 0.91, True), (5, 0.87, True), (5, 0.86, False)]
)
def test_is_best_counts_the_images_of_cross_validation_like_those_of_val(gain: int, after: float, taken: bool):
    probe, last = (eval_record(stage, 1, 1, val_accuracy=each) for stage, each in ((PROBE, 0.9), (LAST_STAGE, after)))
    assert is_best(last, probe, [probe, last], "auto", VAL_IMAGES, gain) == taken


@pytest.mark.parametrize(
    ("tune", "after", "taken"),
    [
        ("auto", 0.90, False),
        ("auto", 0.91, False),
        ("auto", 0.92, True),
        ("lp-ft", 0.90, True),
        ("lp-ft", 0.89, False),
    ],
)
def test_is_best_takes_a_later_stage_of_auto_where_two_images_more_are_right(tune: Tune, after: float, taken: bool):
    stage = LAST_STAGE if tune == "auto" else TUNE
    assert ((stage, after) in kept(tune, (PROBE, 0.9), (stage, after))) == taken


def test_is_best_takes_the_last_epoch_within_a_standard_error_of_its_stage():
    judged = ((PROBE, 0.5), (TUNE, 0.8), (TUNE, 0.77), (TUNE, 0.7))
    assert kept("lp-ft", *judged) == [(PROBE, 0.5), (TUNE, 0.8), (TUNE, 0.77)]


def test_is_best_without_a_probe_takes_what_improves():
    assert kept("full", (TUNE, 0.8), (TUNE, 0.79), (TUNE, 0.81)) == [(TUNE, 0.8), (TUNE, 0.81)]


def kept_labels(tune: Tune, *judged: tuple[str, float], error: float = 0.03) -> list[float]:
    """The mean average precisions that were the best when they came; the accuracy, which does not count, falls."""
    records = [
        eval_record(
            stage,
            number,
            9,
            val_accuracy=1 - number / 10,
            val_mean_average_precision=value,
            val_mean_average_precision_error=error,
        )
        for number, (stage, value) in enumerate(judged)
    ]
    best, found = None, []
    for number, record in enumerate(records):
        if is_best(record, best, records[: number + 1], tune, VAL_IMAGES):
            best = record
            found.append(record.score)
    return found


def test_is_best_of_several_labels_goes_by_mean_average_precision_and_its_error():
    assert kept_labels("full", (TUNE, 0.8), (TUNE, 0.79), (TUNE, 0.81)) == [0.8, 0.81]
    judged = ((PROBE, 0.5), (TUNE, 0.8), (TUNE, 0.775), (TUNE, 0.76))
    assert kept_labels("lp-ft", *judged) == [0.5, 0.8, 0.775]
    assert kept_labels("lp-ft", *judged, error=0.05) == [0.5, 0.8, 0.775, 0.76]
    assert kept_labels("auto", (PROBE, 0.9), (LAST_STAGE, 0.91)) == [0.9]
    assert kept_labels("auto", (PROBE, 0.9), (LAST_STAGE, 0.92)) == [0.9, 0.92]
