"""Choosing the probe's learning rate and weight decay on val."""

import contextlib
import dataclasses
import itertools

from tl_toolkit.errors import TrainingError
from tl_toolkit.events import DecisionEvent, EvalRecord, TaskProgress, WarningEvent
from tl_toolkit.stages.build import BuiltStage
from tl_toolkit.stages.context import RunContext
from tl_toolkit.system.processes import broadcast
from tl_toolkit.text import named
from tl_toolkit.training.loop import StageProgress, fit
from tl_toolkit.training.plan import StageConfig

LEARNING_RATES = (0.001, 0.003, 0.01, 0.03, 0.1)
WEIGHT_DECAYS = (0.3, 2.0, 6.0)
"""What --probe-lr auto tries: factors of about 3 around the default learning rate and the default weight decay."""


def sweep_probe(context: RunContext, built: BuiltStage) -> BuiltStage:
    """Train the head with every pair of learning rate and weight decay, and choose the best by val.

    Args:
        context: What the stages of the run share.
        built: The probe; its block is open.

    Returns:
        The probe with the best pair, not yet trained.

    Raises:
        TrainingError: The loss is not finite at any learning rate.
    """
    config, value = built.config, named("probe_learning_rate", "auto")
    if built.features is None:
        context.callback(WarningEvent(f"{value} needs stored features; the probe has {config.learning_rate:g}."))
        return built
    network = context.network
    heads = [network.module.get_submodule(name) for name in network.head_modules]
    initial = [{key: tensor.clone() for key, tensor in head.state_dict().items()} for head in heads]
    pairs = list(itertools.product(LEARNING_RATES, WEIGHT_DECAYS))
    best: tuple[EvalRecord, StageConfig] | None = None
    for done, (rate, decay) in enumerate(pairs, start=1):
        candidate = dataclasses.replace(config, learning_rate=rate, head_learning_rate=rate, weight_decay=decay)
        with contextlib.suppress(TrainingError):  # The rate is too high for these features.
            events = fit(built.make(candidate, None), context.accelerator, StageProgress(context.setup.device))
            last = [event for event in events if isinstance(event, EvalRecord)][-1]
            if last.improves_on(best[0] if best else None):
                best = last, candidate
        for head, state in zip(heads, initial, strict=True):
            head.load_state_dict(state)
        context.callback(TaskProgress("probe-lr", done, len(pairs), "pairs"))
    best = broadcast(best)
    if best is None:
        raise TrainingError("The loss is not finite at any learning rate: the frozen features are not. Try fp32.")
    record, chosen = best
    pair = f"{chosen.learning_rate:g}, weight decay {chosen.weight_decay:g}"
    metric = "" if record.score_name == "accuracy" else f"{record.score_name} "
    why = f"best of {len(pairs)} pairs: val {metric}{record.score:.1%}"
    context.callback(DecisionEvent("probe-lr", pair, why))
    return dataclasses.replace(built, stage=built.make(chosen, None), config=chosen)
