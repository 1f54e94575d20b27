"""Which evaluation's weights a run keeps."""

import math
from collections.abc import Sequence

from tl_toolkit.config.choices import Tune
from tl_toolkit.events import PROBE, EvalRecord
from tl_toolkit.training.plan import STAGES, best_by_stage

TELLING_IMAGES = 2
"""Of val, that a later stage of --tune auto must have right beside those of an earlier one. A single one says nothing:
with 24 in val, a last stage that was as good on them fell from 94.8 to 92.2 % on 153 others (ants and bees)."""


ROUNDING = 1e-9
"""Of fractions of val, which are compared."""


def is_best(
    judged: EvalRecord, best: EvalRecord | None, records: Sequence[EvalRecord], tune: Tune, val_images: int
) -> bool:
    """Whether the weights of an evaluation are the ones to keep.

    Of a probe the last epoch counts: the best of many noisy figures is chosen by chance. So it is with stages that
    begin with a probe, unless val is worse by more than a standard error than the stage has had it, or worse than an
    earlier stage had it. With --tune auto it must be better than that by images enough to tell.

    Args:
        judged: The evaluation.
        best: The one whose weights are kept so far.
        records: Every evaluation so far, this one among them.
        tune: What the run trains.
        val_images: How many images val has.
    """
    if judged.stage == PROBE or best is None:
        return True
    if STAGES[tune][0] != PROBE:
        return judged.improves_on(best)
    before = best_by_stage([record for record in records if record.stage != judged.stage])
    peak = max(record.val_accuracy for record in records if record.stage == judged.stage)
    error = math.sqrt(peak * (1 - peak) / val_images)
    margin = TELLING_IMAGES if before and tune == "auto" else 0
    needed = max(peak - error, max(before.values(), default=0.0) + margin / val_images)
    return judged.val_accuracy >= needed - ROUNDING
