"""A last solution of the head on train and val together, once val has made its choices."""

import dataclasses

from tl_toolkit.data.prepare import Splits
from tl_toolkit.data.samples import Samples
from tl_toolkit.events import PROBE, DecisionEvent, Event, WarningEvent
from tl_toolkit.stages.build import Bench, build_stage
from tl_toolkit.text import named
from tl_toolkit.training.loop import StageProgress, fit
from tl_toolkit.training.optimizers import LBFGS
from tl_toolkit.training.plan import StageConfig


def why_not_refit(bench: Bench, probe: StageConfig, best_stage: str) -> str:
    """Why the head is not solved once more on train and val; empty where it is.

    Args:
        bench: What the stages share.
        probe: The settings of the probe.
        best_stage: The stage whose weights are kept.
    """
    if bench.config.tune != "auto" or best_stage != PROBE:
        return f"only a probe that {named('tune', 'auto')} keeps can be solved again at no cost"
    if probe.optimizer != LBFGS:
        return "the probe was trained by gradient descent"
    splits = bench.splits
    if not splits.val_from_train:
        return "val is the data's own split"
    if not (splits.train.fixed and isinstance(splits.train.images, list)):
        return "images may change when they are read"
    frozen = bench.find_frozen(bench.network.head_modules)  # Another stage may have come after the probe.
    if frozen is None:
        return "the network has no frozen part that can be run alone"
    return frozen.why_not_at_once(_merge(splits.train, splits.val), bench.classes)


def refit_head(bench: Bench, probe: StageConfig) -> None:
    """Solves the head on the stored features of train and val, beginning with the solution on train.

    Nothing is judged by val any more, so its images can be learned from; no feature is computed again.

    Args:
        bench: What the stages share; its network is changed in place.
        probe: The settings of the probe.
    """
    splits = bench.splits
    together = _merge(splits.train, splits.val)
    value = f"the head, on {len(together):,} images of train and val"
    bench.callback(DecisionEvent("refit", value, "val has made its choices; its accuracy is from before"))

    def quietly(event: Event) -> None:
        """Tells warnings alone."""
        if isinstance(event, WarningEvent):
            bench.callback(event)

    joined: Splits = dataclasses.replace(splits, train=together)
    again = Bench(bench.config, bench.network, bench.classes, joined, bench.allow_hflip, bench.compute, quietly)
    with build_stage(again, probe, None) as (stage, _):
        for _ in fit(stage, again.accelerator, StageProgress(bench.compute.device)):
            pass
    bench.network.module.eval()


def _merge(one: Samples, other: Samples) -> Samples:
    return Samples([*one.images, *other.images], [*one.targets, *other.targets])
