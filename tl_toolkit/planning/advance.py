"""Whether a run goes on to its next stage: only while val says that it pays, and never beyond the time budget."""

import dataclasses
import math
from collections.abc import Sequence

from tl_toolkit.errors import UsageError
from tl_toolkit.events import LAST_STAGE, PROBE, TUNE, DecisionEvent, EvalRecord
from tl_toolkit.io.files import format_seconds
from tl_toolkit.planning.budget import MIN_EPOCHS, TimeBudget
from tl_toolkit.planning.cost import DEFAULT_MULTIPLY_ADDS, count_stage, time_stage
from tl_toolkit.stages.context import RunContext
from tl_toolkit.text import named
from tl_toolkit.training.plan import StageConfig, best_by_stage


def fit_to_budget(
    context: RunContext, planned: StageConfig, records: Sequence[EvalRecord], budget: TimeBudget
) -> StageConfig | None:
    """The settings with which a stage is worth its time, told with the reason.

    Args:
        context: What the stages share.
        planned: The stage.
        records: Every evaluation so far.
        budget: What is left.

    Returns:
        With fewer epochs where not all fit into the budget; None where the stage is left out.

    Raises:
        UsageError: The budget is too short for the only stage.
    """
    if planned.name == PROBE:
        return planned
    auto = context.config.tune == "auto"
    reason = _why_not(planned, records, len(context.splits.val), budget) if auto else ""
    epochs = planned.epochs
    if not reason and budget.is_set:
        epochs, reason = _epochs_in_time(context, planned, budget)
    elif not reason and auto:
        epochs, reason = _default_epochs(context, planned)
    if reason and not records:  # No stage before it has made a model.
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
    """How many epochs of a stage fit into what is left, and where none does, why."""
    cost = time_stage(context, planned)
    epochs = min(planned.epochs, cost.epochs_within(budget.remaining()))
    left = format_seconds(max(0.0, budget.remaining()))
    return epochs, "" if epochs else f"an epoch takes {format_seconds(cost.setup + cost.epoch)}, and {left} are left"


def _default_epochs(context: RunContext, planned: StageConfig) -> tuple[int, str]:
    """How many epochs of a stage --tune auto trains without a time budget, and where too few, why."""
    limit = DEFAULT_MULTIPLY_ADDS[context.setup.device.type]
    epochs = min(planned.epochs, count_stage(context, planned).epochs_within(limit))
    if epochs >= min(MIN_EPOCHS, planned.epochs):
        return epochs, ""
    cost = time_stage(context, planned)
    seconds = cost.setup + planned.epochs * cost.epoch + cost.final
    return 0, f"it would take about {format_seconds(seconds)}: see {named('time_budget')}"


def _why_not(planned: StageConfig, records: Sequence[EvalRecord], val_images: int, budget: TimeBudget) -> str:
    """Why val does not ask for a stage; empty where it does."""
    best = best_by_stage(records)
    if max(best.values()) == 1.0:
        return "val has no mistakes left"
    if planned.name != TUNE:
        return ""
    if LAST_STAGE not in best:
        return "the last stage was left out"
    gain = best[LAST_STAGE] - best[PROBE]
    error = math.sqrt(best[PROBE] * (1 - best[PROBE]) / val_images)
    told = f"the last stage changed val by {100 * gain:+.1f} points"
    if budget.is_set:
        return "" if gain > -error else told
    return "" if gain > error else f"{told}, {100 * error:.1f} is its standard error"
