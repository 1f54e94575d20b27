"""Whether a run continues with its next stage: only while stages gain, and never beyond the time budget."""

import dataclasses
from collections.abc import Sequence

from tl_toolkit.errors import DataError, UsageError
from tl_toolkit.events import LAST_STAGE, PROBE, TUNE, DecisionEvent, EvalRecord
from tl_toolkit.io.files import format_seconds
from tl_toolkit.planning.budget import MIN_EPOCHS, TimeBudget
from tl_toolkit.planning.cost import DEFAULT_MULTIPLY_ADDS, count_stage, time_stage
from tl_toolkit.stages.context import RunContext
from tl_toolkit.stages.cross_validation import FOLDS, cross_validate_stage
from tl_toolkit.system.processes import broadcast, first_decides, together
from tl_toolkit.text import named
from tl_toolkit.training.model_selection import MIN_GAIN_IMAGES
from tl_toolkit.training.plan import LAST_STAGE_EPOCHS, StageConfig, best_records

SMALL_VAL = 1000
"""With fewer images val alone cannot tell a gain of a point, whose standard error is then above a third of one."""

FOLDS_SHARE = 0.25
"""Cross-validation's share of the default limit of a stage: 5 to 10 seconds on two cores."""


def fit_to_budget(
    context: RunContext, stages: Sequence[StageConfig], number: int, records: Sequence[EvalRecord], budget: TimeBudget
) -> StageConfig | None:
    """Return the settings with which a stage is worth its time, and report the reason if they differ.

    Args:
        context: What the stages of the run share.
        stages: The settings of all stages.
        number: Which stage comes next, from 0.
        records: Every evaluation of the run so far.
        budget: The time that the run may take.

    Returns:
        The settings with as many epochs as the budget allows; None to leave the stage out.

    Raises:
        UsageError: The budget is too short for the only stage.
    """
    planned = stages[number]
    if planned.name == PROBE:
        return planned
    auto = context.config.tune == "auto"
    reason = _why_not(planned, records, len(context.splits.val), budget) if auto else ""
    if not reason and auto and planned.name == LAST_STAGE:
        planned, reason = _cross_validated(context, stages[0], planned, budget)
    affordable: StageConfig | None = None
    with together():
        affordable = _affordable(context, planned, reason, records, budget)
    return broadcast(affordable)  # It depends on what the first process measured.


def _affordable(
    context: RunContext, planned: StageConfig, reason: str, records: Sequence[EvalRecord], budget: TimeBudget
) -> StageConfig | None:
    """Return the settings of a stage with as many epochs as the budget allows; None to leave it out for a reason."""
    epochs = planned.epochs
    if not reason and budget.is_set:
        epochs, reason = _epochs_in_time(context, planned, budget)
    elif not reason and context.config.tune == "auto":
        epochs, reason = _default_epochs(context, planned)
    if reason and not records:  # No earlier stage has a model.
        raise UsageError(f"{_budget(context)} is too short for {planned.name}: {reason}.")
    if reason:
        context.callback(DecisionEvent(planned.name, "left out", reason))
        return None
    if epochs < planned.epochs:
        limit = _budget(context) if budget.is_set else f"the default; see {named('time_budget')}"
        context.callback(DecisionEvent(planned.name, f"{epochs} of {planned.epochs} epochs", limit))
    return dataclasses.replace(planned, epochs=epochs)


def _budget(context: RunContext) -> str:
    return named("time_budget", context.config.time_budget)


def _epochs_in_time(context: RunContext, planned: StageConfig, budget: TimeBudget) -> tuple[int, str]:
    """Return how many epochs of a stage fit into the remaining time, and the reason if none does."""
    cost = time_stage(context, planned)
    epochs = min(planned.epochs, cost.epochs_within(budget.remaining()))
    left = format_seconds(max(0.0, budget.remaining()))
    return epochs, "" if epochs else f"an epoch takes {format_seconds(cost.setup + cost.epoch)}, and {left} are left"


def _cross_validated(
    context: RunContext, probe: StageConfig, planned: StageConfig, budget: TimeBudget
) -> tuple[StageConfig, str]:
    """Return a stage's settings with what it gains in cross-validation, and the reason if it gains too little.

    It is tried where val is small, and there is time for it.
    """
    large_val = len(context.splits.val) >= SMALL_VAL
    if large_val or context.task != "multi-class":
        return planned, ""
    epochs = min(planned.epochs, LAST_STAGE_EPOCHS)
    if epochs < MIN_EPOCHS or not _has_time_for_folds(context, planned, epochs, budget):
        return planned, ""
    try:
        found = cross_validate_stage(context, probe, dataclasses.replace(planned, epochs=epochs))
    except DataError as error:
        context.callback(DecisionEvent("folds", "left out", str(error)))
        return planned, ""
    gain = found.stage - found.probe
    before, after = (f"{100 * right / found.images:.1f} %" for right in (found.probe, found.stage))
    judged = f"{after} of {found.images:,} images of train, cross-validated, and {before} with the head alone"
    if gain < MIN_GAIN_IMAGES:
        return planned, judged
    context.callback(DecisionEvent(planned.name, "pays", judged))
    return dataclasses.replace(planned, gain_images=gain), ""


def _has_time_for_folds(context: RunContext, planned: StageConfig, epochs: int, budget: TimeBudget) -> bool:
    """Return whether there is time to cross-validate a stage with so many epochs, and in a budget for the stage too."""
    needed = (FOLDS - 1) * epochs  # Each fold leaves one part of train out.
    if budget.is_set:
        affordable = 0
        with together():
            affordable = time_stage(context, planned).epochs_within(budget.remaining())
        return first_decides(affordable >= needed + epochs)
    return count_stage(context, planned).epochs_within(FOLDS_SHARE * _default_limit(context)) >= needed


def _default_epochs(context: RunContext, planned: StageConfig) -> tuple[int, str]:
    """Return how many epochs --tune auto trains without a time budget, and the reason if there are too few."""
    epochs = min(planned.epochs, count_stage(context, planned).epochs_within(_default_limit(context)))
    if epochs >= min(MIN_EPOCHS, planned.epochs):
        return epochs, ""
    cost = time_stage(context, planned)
    seconds = cost.setup + planned.epochs * cost.epoch + cost.final
    return 0, f"it would take about {format_seconds(seconds)}: see {named('time_budget')}"


def _default_limit(context: RunContext) -> float:
    """Return the multiply-adds of a stage without a time budget."""
    return DEFAULT_MULTIPLY_ADDS[context.setup.device.type]


def _why_not(planned: StageConfig, records: Sequence[EvalRecord], val_images: int, budget: TimeBudget) -> str:
    """Return why val speaks against a stage; empty if it does not."""
    peaks = best_records(records)
    best = {stage: record.score for stage, record in peaks.items()}
    if max(best.values()) == 1.0:
        return "val has no mistakes left"
    if planned.name != TUNE:
        return ""
    if LAST_STAGE not in best:
        return "the last stage was left out"
    gain = best[LAST_STAGE] - best[PROBE]
    error = peaks[PROBE].standard_error(val_images)
    change = f"the last stage changed val by {100 * gain:+.1f} points"
    if budget.is_set:
        return "" if gain > -error else change
    return "" if gain > error else f"{change}, {100 * error:.1f} is its standard error"
