"""The cost of a stage, counted in multiply-adds or measured in seconds."""

import itertools
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
from tl_toolkit.system.processes import broadcast, first_decides, world
from tl_toolkit.text import named
from tl_toolkit.training.plan import StageConfig

DEFAULT_MULTIPLY_ADDS = {"cpu": 2.5e12, "cuda": 1e15, "mps": 4e13}
"""Limit of --tune auto for a stage without --time-budget: 20 to 40 seconds on two cores, fewer on a GPU. It is counted,
not measured, so that a run does the same on a busy machine."""

BACKWARD = 2
"""A backward pass costs two forward passes: it computes the gradients of inputs and of weights."""

SAFETY_FACTOR = 1.15
"""Steps and images may take this much longer than when they were measured."""

MIN_COST = 1e-9
"""Smallest cost of an epoch, of which a clock may measure nothing."""

PROBE_SECONDS = 3.0
"""Seconds for solving the head."""

TIMED_IMAGES = 32


@dataclass(frozen=True, slots=True)
class StageCost:
    """The cost of a stage, in seconds or in multiply-adds.

    Attributes:
        setup: Cost of the features that it trains on.
        epoch: Cost of an epoch and its evaluation.
        final: Cost of evaluating the trained model on val and test.
    """

    setup: float
    epoch: float
    final: float

    def epochs_within(self, limit: float) -> int:
        """Return the number of epochs that a limit allows."""
        return max(0, math.floor((limit - self.setup) / max(self.epoch, MIN_COST)))


@dataclass(frozen=True, slots=True)
class ImageSeconds:
    """The seconds of an image.

    Attributes:
        decode: To read it.
        forward: Of a forward pass in the precision of prediction, which computes stored features.
        training_forward: Of a forward pass in the precision of training.
        step: Of a training step: what is frozen runs forward, what trains also backward.
    """

    decode: float
    forward: float
    training_forward: float
    step: float


def count_stage(context: RunContext, config: StageConfig) -> StageCost:
    """Return a stage's multiply-adds: one pass through what is frozen, and training of the rest in every epoch."""
    network = context.network
    trainable = trainable_modules(network.module, network.head_modules, config.policy)
    counts = count_multiply_adds(network.module.eval(), network.input_spec)  # An earlier stage leaves it in train mode.
    trained = float(sum(counts.get(name, 0) for name in trainable))
    return _stage_cost(context, counts[""] - trained, trained)


def time_stage(context: RunContext, config: StageConfig) -> StageCost:
    """Return a stage's seconds, estimated from forward passes and a training step on real images."""
    network = context.network
    trainable = trainable_modules(network.module, network.head_modules, config.policy)
    image = _time_image(context, trainable)
    if "" in trainable:
        return _stage_cost(context, 0.0, SAFETY_FACTOR * (image.decode + image.step) / (1 + BACKWARD))
    counts = count_multiply_adds(network.module.eval(), network.input_spec)
    share = 1 - sum(counts.get(name, 0) for name in trainable) / counts[""]
    trained = max(0.0, image.step - share * image.training_forward) / (1 + BACKWARD)
    return _stage_cost(context, SAFETY_FACTOR * (image.decode + share * image.forward), SAFETY_FACTOR * trained)


def _stage_cost(context: RunContext, frozen: float, trained: float) -> StageCost:
    """Return the cost of a stage from the cost of an image's forward pass through the frozen part and the rest."""
    sizes = (len(context.splits.present.get(name, ())) for name in ("train", "val", "test"))
    train, val, test = (size / world().size for size in sizes)
    return StageCost(
        setup=frozen * (context.views * train + val),
        epoch=trained * ((1 + BACKWARD) * train + val),
        final=(frozen + trained) * (val + test),
    )


def check_budget(context: RunContext, budget: TimeBudget) -> None:
    """Refuse a budget within which not even the head can be trained, else reserve the time that the end takes.

    Raises:
        UsageError: The budget is too short; the message says what would be enough.
    """
    if not budget.is_set:
        return
    probe = StageConfig(PROBE, 1, "", 0.0, 0.0, 0.0)
    cost = broadcast(time_stage(context, probe))
    needed = budget.elapsed + cost.setup + cost.final + PROBE_SECONDS + WRITING_SECONDS
    if first_decides(needed > budget.seconds):
        images = sum(len(samples) for samples in context.splits.present.values())
        raise UsageError(
            f"{named('time_budget')} is too short with {format_seconds(budget.seconds)}: {images:,} images take about "
            f"{format_seconds(needed)} with the head alone. Give at least that, or fewer images "
            f"({named('train_images')}), a smaller {named('image_size')} or a smaller network."
        )
    budget.reserve = WRITING_SECONDS + cost.final


@contextmanager
def _only_trainable(context: RunContext, trainable: tuple[str, ...]) -> Iterator[None]:
    """Within the block, only these modules have gradients; afterwards there are none."""
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


def _time_image(context: RunContext, trainable: tuple[str, ...]) -> ImageSeconds:
    """Return the seconds of an image, the least of two passes: the first one allocates memory."""
    indices = list(range(min(TIMED_IMAGES, len(context.splits.train))))
    dataset, module, setup = context.images.plain(context.splits.train), context.network.module, context.setup
    passes = []
    with _only_trainable(context, trainable):
        for _ in range(2):
            times = [time.perf_counter()]
            images = torch.stack([pixels for pixels, _ in dataset.__getitems__(indices)]).to(setup.device)
            times.append(time.perf_counter())
            with setup.inference():
                module(context.images.prepare(images))
            setup.wait()
            times.append(time.perf_counter())
            with torch.no_grad(), setup.training_autocast():
                module(context.images.prepare(images))
            setup.wait()
            times.append(time.perf_counter())
            with setup.training_autocast():
                logits = module(context.images.prepare(images))
            logits.float().logsumexp(1).sum().backward()
            setup.wait()
            times.append(time.perf_counter())
            module.zero_grad()
            passes.append([(end - start) / len(indices) for start, end in itertools.pairwise(times)])
    return ImageSeconds(*map(min, zip(*passes, strict=True)))
