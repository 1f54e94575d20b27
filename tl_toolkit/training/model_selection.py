"""Which evaluation's weights a run saves."""

from collections.abc import Sequence

from tl_toolkit.config.choices import Tune
from tl_toolkit.events import PROBE, EvalRecord
from tl_toolkit.training.plan import STAGES, best_by_stage

MIN_GAIN_IMAGES = 2
"""Images of val by which a later stage of --tune auto must beat an earlier one. A single image says nothing: with 24 in
val, a last stage that was as good on them fell from 94.8 to 92.2 % on 153 others (ants and bees).
Mean average precision changes by about as much where an image goes from all wrong to all right."""

ROUNDING = 1e-9
"""Tolerance in comparisons of fractions of val."""


def is_best(
    record: EvalRecord,
    best: EvalRecord | None,
    records: Sequence[EvalRecord],
    tune: Tune,
    val_images: int,
    gain_images: int = 0,
) -> bool:
    """Return whether the weights of an evaluation become the ones to save.

    For a probe the last epoch counts: the best of many noisy scores would be the best by chance. The same holds
    for the stages after a probe, unless val is worse than the best of the stage by more than a standard error, or worse
    than in an earlier stage. With --tune auto it must beat the earlier stage by enough images, of val and of
    cross-validation together.

    Args:
        record: The evaluation.
        best: The evaluation whose weights are saved so far.
        records: Every evaluation so far, including `record`.
        tune: What the run trains.
        val_images: The number of images in val.
        gain_images: How many images more than an earlier stage it has right in cross-validation.
    """
    if record.stage == PROBE or best is None:
        return True
    if STAGES[tune][0] != PROBE:
        return record.improves_on(best)
    earlier = best_by_stage([each for each in records if each.stage != record.stage])
    peak = max((each for each in records if each.stage == record.stage), key=lambda each: each.score)
    error = peak.standard_error(val_images)
    margin = MIN_GAIN_IMAGES - gain_images if earlier and tune == "auto" else 0
    needed = max(peak.score - error, max(earlier.values(), default=0.0) + margin / val_images)
    return record.score >= needed - ROUNDING


def evaluations_since_best(records: Sequence[EvalRecord], stage: str) -> int:
    """Return how many evaluations of a stage came after its best one."""
    stale = 0
    best: EvalRecord | None = None
    for record in records:
        if record.stage == stage:
            improves = record.improves_on(best)
            best, stale = (record, 0) if improves else (best, stale + 1)
    return stale
