"""What a stage costs: counted in multiply-adds, or timed."""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from tl_toolkit.errors import UsageError
from tl_toolkit.events import PROBE
from tl_toolkit.io.files import format_seconds
from tl_toolkit.models.freezing import freeze_except, trainable_modules
from tl_toolkit.models.multiply_adds import count_multiply_adds
from tl_toolkit.planning.budget import WRITING_SECONDS, TimeBudget
from tl_toolkit.stages.context import RunContext
from tl_toolkit.text import named
from tl_toolkit.training.plan import StageConfig

DEFAULT_MULTIPLY_ADDS = {"cpu": 2.5e12, "cuda": 1e15, "mps": 4e13}
"""What --tune auto spends on a stage without --time-budget: some 20 to 40 seconds on two cores, fewer on a GPU. It is
counted and not timed, so that the same run does the same on a machine that is busy."""


BACKWARD = 2
"""A backward pass computes the gradients of inputs and of weights: two forward passes."""


SLOWER = 1.15
"""Steps and images may take this much longer than they did when they were timed."""


MIN_COST = 1e-9
"""Of an epoch; a clock that stutters may tell none."""


PROBE_SECONDS = 3.0
"""Of solving the head."""


TIMED_IMAGES = 32


@dataclass(frozen=True, slots=True)
class StageCost:
    """What a stage takes, in seconds or in multiply-adds.

    Attributes:
        setup: Computing the features that it trains on.
        epoch: An epoch and its evaluation.
        final: Evaluating val and test with the model that it makes.
    """

    setup: float
    epoch: float
    final: float

    def epochs_within(self, limit: float) -> int:
        """How many epochs a limit allows."""
        return max(0, math.floor((limit - self.setup) / max(self.epoch, MIN_COST)))


def count_stage(context: RunContext, settings: StageConfig) -> StageCost:
    """Multiply-adds of a stage: forward passes of what is frozen, training of the rest in every epoch."""
    network = context.network
    trainable = trainable_modules(network.module, network.head_modules, settings.policy)
    counts = count_multiply_adds(network.module.eval(), network.input_spec)  # A stage before leaves it in train mode.
    trained = float(sum(counts.get(name, 0) for name in trainable))
    return _stage_cost(context, counts[""] - trained, trained)


def time_stage(context: RunContext, settings: StageConfig) -> StageCost:
    """Seconds of a stage, reckoned from a forward pass and a training step on real images."""
    network = context.network
    trainable = trainable_modules(network.module, network.head_modules, settings.policy)
    forward, step = _time_image(context, trainable)
    if "" in trainable:
        return _stage_cost(context, 0.0, SLOWER * step / (1 + BACKWARD))
    trained = max(0.0, step - forward) / BACKWARD  # The frozen part has no backward pass.
    return _stage_cost(context, SLOWER * (forward - trained), SLOWER * trained)


def _stage_cost(context: RunContext, frozen: float, trained: float) -> StageCost:
    """From the forward costs of an image, of the frozen part and of the rest, to those of a stage."""
    train, val, test = (len(context.splits.present.get(name, ())) for name in ("train", "val", "test"))
    return StageCost(
        setup=frozen * (context.views * train + val),
        epoch=trained * ((1 + BACKWARD) * train + val),
        final=(frozen + trained) * (val + test),
    )


def check_budget(context: RunContext, budget: TimeBudget) -> None:
    """Refuses a budget within which not even the head can be trained.

    Raises:
        UsageError: It is too short; the message says what would do.
    """
    if not budget.is_set:
        return
    probe = StageConfig(PROBE, 1, "", 0.0, 0.0, 0.0)
    cost = time_stage(context, probe)
    needed = budget.elapsed + cost.setup + cost.final + PROBE_SECONDS + WRITING_SECONDS
    if needed > budget.seconds:
        images = sum(len(samples) for samples in context.splits.present.values())
        raise UsageError(
            f"{named('time_budget')} is too short with {format_seconds(budget.seconds)}: {images:,} images take about "
            f"{format_seconds(needed)} with the head alone. Give at least that, or fewer images "
            f"({named('train_images')}), a smaller {named('image_size')} or a smaller network."
        )
    budget.reserve = WRITING_SECONDS + cost.final


@contextmanager
def _only_trainable(context: RunContext, trainable: tuple[str, ...]) -> Iterator[None]:
    """Within the block, the gradients are those of a stage; none are left behind."""
    module = context.network.module
    before = {name: parameter.requires_grad for name, parameter in module.named_parameters()}
    freeze_except(module, trainable)
    module.eval()
    try:
        yield
    finally:
        module.zero_grad()
        for name, parameter in module.named_parameters():
            parameter.requires_grad_(before[name])


def _time_image(context: RunContext, trainable: tuple[str, ...]) -> tuple[float, float]:
    """Seconds of a forward pass and of a training step for an image, each with decoding."""
    indices = list(range(min(TIMED_IMAGES, len(context.splits.train))))
    dataset, module = context.images.plain(context.splits.train), context.network.module
    forward = step = math.inf
    with _only_trainable(context, trainable):
        for _ in range(2):  # The first time around memory is taken.
            started = time.perf_counter()
            images = torch.stack([pixels for pixels, _ in dataset.__getitems__(indices)]).to(context.setup.device)
            decoded = time.perf_counter()
            with context.setup.inference():
                module(context.images.prepare(images))
            context.setup.wait()
            ran = time.perf_counter()
            with context.setup.training_autocast():
                logits = module(context.images.prepare(images))
            logits.float().logsumexp(1).sum().backward()
            context.setup.wait()
            ended = time.perf_counter()
            module.zero_grad()
            forward = min(forward, (ran - started) / len(indices))
            step = min(step, (decoded - started + ended - ran) / len(indices))
    return forward, step
