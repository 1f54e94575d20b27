"""Refitting the head on train and val together, after model selection."""

import dataclasses

from tl_toolkit.data.samples import Samples
from tl_toolkit.data.targets import join
from tl_toolkit.events import PROBE, DecisionEvent, Event, WarningEvent
from tl_toolkit.stages.build import build_stage, find_features
from tl_toolkit.stages.context import RunContext
from tl_toolkit.training.loop import StageProgress, fit
from tl_toolkit.training.optimizers import LBFGS
from tl_toolkit.training.plan import StageConfig


def can_refit(context: RunContext, probe: StageConfig, best_stage: str) -> bool:
    """Return whether the head can be solved again on train and val at no cost.

    It can if --tune auto keeps a probe that L-BFGS solved, val is taken from train, and the images do not change when
    they are read again. With several labels an image it cannot: their thresholds are those of the head that val judged.

    Args:
        context: What the stages of the run share.
        probe: The settings of the probe.
        best_stage: The stage whose weights the run keeps.
    """
    splits = context.splits
    if context.task == "multi-label":
        return False
    keeps_solution = context.config.tune == "auto" and best_stage == PROBE and probe.optimizer == LBFGS
    unchanging = splits.train.deterministic and splits.train.images.fingerprint(0)
    if not (keeps_solution and splits.val_from_train and unchanging):
        return False
    features = find_features(context, context.network.head_modules)  # Another stage may have come after the probe.
    return features is not None and not features.why_too_large(_merge(splits.train, splits.val), context.classes)


def refit_head(context: RunContext, probe: StageConfig) -> None:
    """Solve the head on the stored features of train and val, starting from the solution on train.

    val is no longer needed for model selection, so the head can learn from its images. No feature is computed again.

    Args:
        context: What the stages of the run share; its network changes in place.
        probe: The settings of the probe.
    """
    splits, callback = context.splits, context.callback
    merged = _merge(splits.train, splits.val)
    value = f"the head, on {len(merged):,} images of train and val"
    callback(DecisionEvent("refit", value, "model selection is done; what val says is from before the refit"))

    def warn(event: Event) -> None:
        if isinstance(event, WarningEvent):
            callback(event)

    both = dataclasses.replace(context, splits=dataclasses.replace(splits, train=merged), callback=warn)
    with build_stage(both, probe) as built:
        for _ in fit(built.stage, both.accelerator, StageProgress(context.setup.device)):
            pass
    context.network.module.eval()


def _merge(one: Samples, other: Samples) -> Samples:
    return Samples(one.images + other.images, join(one.targets, other.targets))
