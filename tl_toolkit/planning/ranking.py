"""Ranking networks by a cross-validated linear probe on their frozen features of a sample of the images."""

import dataclasses
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from tl_toolkit.config.checks import AUTO
from tl_toolkit.config.finetune import FinetuneConfig
from tl_toolkit.data.drawing import split_names
from tl_toolkit.data.prepare import Splits
from tl_toolkit.data.samples import Samples
from tl_toolkit.data.sources.base import Source
from tl_toolkit.data.splits import grouped_sample, stratified_sample
from tl_toolkit.data.targets import class_indices
from tl_toolkit.errors import DataError, ModelError, UsageError
from tl_toolkit.events import LAST_STAGE, TUNE, Callback, Event, TaskProgress
from tl_toolkit.features.extractor import FeatureExtractor
from tl_toolkit.models.backbones import Arch, default_input_spec, resolve_arch
from tl_toolkit.models.build import build_network
from tl_toolkit.models.freezing import freeze_except
from tl_toolkit.models.multiply_adds import count_multiply_adds
from tl_toolkit.models.weights.resolve import BUNDLED_ARCH, InputOverrides
from tl_toolkit.models.weights.sources import weight_sources
from tl_toolkit.planning.budget import TimeBudget
from tl_toolkit.stages.build import find_features
from tl_toolkit.stages.context import RunContext
from tl_toolkit.system.processes import broadcast
from tl_toolkit.text import join_names, named
from tl_toolkit.training.cross_validation import CrossValidation, cross_validate
from tl_toolkit.training.device import select_device
from tl_toolkit.training.plan import DEFAULT_EPOCHS, STAGES

CANDIDATES = (Arch("timm", "tf_efficientnet_lite0"), BUNDLED_ARCH)
"""What --arch auto tries if their weights are on this machine: the networks that come with the installation."""

SAMPLE_IMAGES, SAMPLE_CLASSES = 1_000, 200
SHRUNK = (5 / 7, 4 / 7)
"""Smaller inputs to try beside a network's own, 160 and 128 px of 224: an image costs a half and a third."""

GROWN = 9 / 7
"""A larger input, 288 of 224 px, to try if a time budget leaves the time. Random crops in pretraining show larger
objects than the crop of an evaluation does; a larger input makes up for it (Touvron et al. 2019, arXiv:1906.06423)."""

RANKING_SHARE = 0.25
"""Share of a time budget after which no further candidate is tried."""

PROBE_SHARE = 0.5
"""Share of the remaining time within which the head must be trained, so that more than the head can be."""

SMALLEST_SHRUNK, STRIDE = 96, 32
NEGLIGIBLE_MULTIPLY_ADDS = 5e11
"""Networks whose cost differs by less, about 2 seconds on two cores, cost the same."""

TIMED_IMAGES = 64
STEP_COST = 3.0
"""Cost of a training step of an image in forward passes: the backward pass computes two gradients."""


@dataclass(frozen=True, slots=True)
class RankedNetwork:
    """How a network does on a sample of the images, at one input size.

    Attributes:
        arch: "torchvision:NAME" or "timm:NAME".
        image_size: Height and width of the input in pixels.
        weights: Where its weights are from, as --weights takes it.
        origin: The same in a few words.
        accuracy: Cross-validated accuracy of a linear probe on its frozen features; a fraction.
        standard_error: Standard error of the accuracy, or with several labels of the mean average precision.
        feature_seconds: Seconds for the features of the sample; 0 if all were in the cache.
        seconds_per_image: Seconds for decoding and one forward pass.
        training_seconds: Predicted seconds of a training with the config's --tune.
        training_multiply_adds: Multiply-adds of the same.
        parameter_bytes: Bytes of the model file.
        mean_average_precision: Of several labels an image, cross-validated likewise, and what networks are compared
            by; the accuracy is then the share of the images whose labels are all right. None for other data.
    """

    arch: str
    image_size: int
    weights: str
    origin: str
    accuracy: float
    standard_error: float
    feature_seconds: float
    seconds_per_image: float
    training_seconds: float
    training_multiply_adds: float
    parameter_bytes: int
    mean_average_precision: float | None = None

    @property
    def score(self) -> float:
        """What networks are compared by: accuracy, or with several labels mean average precision."""
        return self.accuracy if self.mean_average_precision is None else self.mean_average_precision

    @property
    def score_name(self) -> str:
        """What `score` is."""
        return "accuracy" if self.mean_average_precision is None else "mAP"

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON, without those that are None."""
        return {name: value for name, value in dataclasses.asdict(self).items() if value is not None}

    @property
    def name(self) -> str:
        """The network's name without its library."""
        return self.arch.partition(":")[2]

    def __str__(self) -> str:
        metric = "" if self.score_name == "accuracy" else f"{self.score_name} "
        figure = f"{metric}{100 * self.score:.1f} ± {100 * self.standard_error:.1f} %"
        return f"{self.name} at {self.image_size} px {figure}"


def rank_networks(
    config: FinetuneConfig,
    source: Source,
    splits: Splits,
    callback: Callback,
    archs: Sequence[str] = (),
    out_of_time: Callable[[], bool] = lambda: False,
) -> list[RankedNetwork]:
    """Rank networks on a sample of train.

    Args:
        config: The settings.
        source: Where the images are from.
        splits: The images.
        callback: Receives progress.
        archs: Names of networks; by default those of `CANDIDATES` whose weights are on this machine.
        out_of_time: Whether to leave out the remaining sizes; called before each.

    Returns:
        The networks at each input size, best first.

    Raises:
        ToolkitError: There is no candidate, or the images cannot be used.
    """
    sample = _sample(splits.train, source, config.seed)
    seen = dataclasses.replace(splits, train=sample)
    ranked: list[RankedNetwork] = []
    for arch, weights in _candidates(config, archs):
        own = _evaluate(config, arch, weights, config.image_size, source, splits, seen, callback)
        ranked.append(own)
        for size in [] if config.image_size else _other_sizes(own.image_size, config.time_budget is not None):
            if out_of_time():
                return _best_first(ranked)
            try:
                ranked.append(_evaluate(config, arch, weights, size, source, splits, seen, callback))
            except ModelError:
                continue  # The network does not take images of this size, which nobody asked for.
    return _best_first(ranked)


def _best_first(ranked: Sequence[RankedNetwork]) -> list[RankedNetwork]:
    """Sort by score, then by cost; cost is counted, since clocks differ from run to run."""
    return sorted(ranked, key=lambda network: (-network.score, network.training_multiply_adds))


def choose_network(ranked: Sequence[RankedNetwork], seconds: float = 0.0) -> RankedNetwork:
    """Return the best network if there is time for it, else the cheapest of those that are as good.

    A network is as good if it is within one standard error of the best; a better one that costs hardly more comes
    before the cheapest. Cost is counted in multiply-adds, so the choice does not depend on how busy the machine is.

    Args:
        ranked: Best first.
        seconds: Time for the training of the best; 0 without a time budget.
    """
    best = ranked[0]
    if best.training_seconds <= seconds:
        return best
    near = [network for network in ranked if network.score >= best.score - best.standard_error]
    cheapest = min(network.training_multiply_adds for network in near)
    return next(network for network in near if network.training_multiply_adds <= cheapest + NEGLIGIBLE_MULTIPLY_ADDS)


def choose_arch(
    config: FinetuneConfig, source: Source, splits: Splits, callback: Callback, budget: TimeBudget
) -> tuple[FinetuneConfig, list[RankedNetwork]]:
    """Return the settings with a network in place of "auto", and the ranking that it was chosen by.

    Raises:
        ToolkitError: There is no candidate.
    """
    ranked = rank_networks(config, source, splits, callback, out_of_time=lambda: budget.used(RANKING_SHARE))
    chosen = choose_network(ranked, PROBE_SHARE * budget.remaining() if budget.is_set else 0.0)
    ranked, chosen = broadcast((ranked, chosen))  # It depends on what the first process measured.
    return dataclasses.replace(config, arch=chosen.arch, weights=chosen.weights, image_size=chosen.image_size), ranked


def check_auto(config: FinetuneConfig) -> None:
    """Refuse settings that belong to one network if no network is named.

    Raises:
        UsageError: There are such settings.
    """
    if config.weights not in ("auto", "imagenet", "package", "bundled"):
        raise UsageError(
            f"{named('weights', config.weights)} belongs to one network, but {named('arch')} is auto: name the "
            f"network, such as {named('arch', 'resnet18')}."
        )
    if config.arch_options:
        raise UsageError(
            f"{named('arch_options')} belong to one network, but {named('arch')} is auto: name the network."
        )


def largest_input(config: FinetuneConfig, archs: Sequence[str] = ()) -> int:
    """Return the height and width in which images must be decoded for every candidate.

    Raises:
        UsageError: There is no candidate.
    """
    specs = [default_input_spec(arch) for arch, _ in _candidates(config, archs)]
    if config.image_size:
        specs = [spec.with_size(config.image_size) for spec in specs]
    elif config.time_budget:
        specs = [spec.with_size(_scaled(spec.height, GROWN)) for spec in specs]
    return max(spec.min_decode_size for spec in specs)


def _candidates(config: FinetuneConfig, archs: Sequence[str]) -> list[tuple[Arch, str]]:
    """Return the networks to rank, each with where its weights come from.

    Raises:
        UsageError: There is none.
    """
    if archs:
        return [(resolve_arch(name), config.weights) for name in archs]
    found: list[tuple[Arch, str]] = []
    for arch in CANDIDATES:
        here = [source.weights for source in weight_sources(arch) if source.here]
        if chosen := [weights for weights in here if config.weights in (AUTO, weights)]:
            found.append((arch, chosen[0]))
    if not found:
        raise UsageError(
            f"{named('arch', AUTO)} chooses among {join_names([str(arch) for arch in CANDIDATES])}, but with "
            f"{named('weights', config.weights)} the weights of none are on this machine. Name a network: "
            f"{named('arch', 'resnet18')} downloads its weights; `tl models --here` lists what needs no download."
        )
    return found


def _other_sizes(size: int, larger: bool) -> list[int]:
    """Return the input sizes to try beside a network's own: smaller ones, and perhaps a larger one."""
    smaller = [shrunk for share in SHRUNK if SMALLEST_SHRUNK <= (shrunk := _scaled(size, share)) < size]
    return [*smaller, _scaled(size, GROWN)] if larger else smaller


def _scaled(size: int, share: float) -> int:
    return round(size * share / STRIDE) * STRIDE


def _sample(train: Samples, source: Source, seed: int) -> Samples:
    """Return some images of train, every class in proportion; of many classes, only some.

    Raises:
        DataError: No class has a second image to test what was learned from the first.
    """
    if source.task != "multi-class":
        return _at_most(train, source, seed)
    targets = class_indices(train.targets)
    classes = sorted(set(targets))
    if len(classes) == len(train):
        raise DataError(
            f"{source.name} has a single image of each class in train: networks cannot be judged by them. Name one: "
            f"{named('arch', 'resnet18')}."
        )
    if len(classes) > SAMPLE_CLASSES:
        step = len(classes) / SAMPLE_CLASSES
        chosen = {classes[int(index * step)] for index in range(SAMPLE_CLASSES)}
        train = train.subset([index for index, target in enumerate(targets) if target in chosen])
    return _at_most(train, source, seed)


def _at_most(train: Samples, source: Source, seed: int) -> Samples:
    """Return some images, every class in proportion."""
    if len(train) <= SAMPLE_IMAGES:
        return train
    if train.groups:
        return train.subset(grouped_sample(train.targets, train.groups, SAMPLE_IMAGES, seed)[1])
    return train.subset(stratified_sample(train.targets, split_names(train, source), SAMPLE_IMAGES, seed)[1])


def _evaluate(
    config: FinetuneConfig,
    arch: Arch,
    weights: str,
    size: int | None,
    source: Source,
    splits: Splits,
    seen: Splits,
    callback: Callback,
) -> RankedNetwork:
    """Evaluate one network at one input size; None is its own.

    Raises:
        ModelError: It does not take images of this size, or has no frozen features.
    """
    outputs = 1 if config.one_logit else len(source.class_names)
    config = dataclasses.replace(config, views=1)
    torch.manual_seed(config.seed)
    network = build_network(arch, outputs, config.head, weights, InputOverrides(size, config.in_channels))
    title = f"rank {arch.name} {size or network.input_spec.height} px"

    def progress(event: Event) -> None:
        """Pass progress on; what the features report of themselves would be a line for each network."""
        if isinstance(event, TaskProgress):
            callback(dataclasses.replace(event, task=title))

    setup = select_device(config.device, config.precision, network.module)
    setup.place(network.module)
    context = RunContext(config, network, source, seen, setup, progress)
    freeze_except(network.module, network.head_modules)
    extractor = find_features(context, network.head_modules)
    if extractor is None:
        raise ModelError(f"{arch} has no frozen features to rank it by. Leave it out.")
    started = time.perf_counter()
    batches = [(rows.float(), targets) for rows, targets in extractor.eval_batches("sample", seen.train)]
    seconds = time.perf_counter() - started
    features = torch.cat([rows for rows, _ in batches]).flatten(1)
    targets = torch.cat([targets for _, targets in batches])
    probe = cross_validate(features, targets, outputs, context.criterion, context.task, seen.train.groups)
    return _describe(context, splits, weights, extractor, seconds, probe)


def _describe(
    context: RunContext,
    splits: Splits,
    weights: str,
    extractor: FeatureExtractor,
    seconds: float,
    probe: CrossValidation,
) -> RankedNetwork:
    config, network, sample = context.config, context.network, context.splits.train
    computed = extractor.computed_images
    timed = seconds / computed if computed >= TIMED_IMAGES else extractor.time_image(sample)
    total = sum(len(samples) for samples in splits.present.values())
    stages = STAGES[config.tune]
    fine_tunes = config.tune != AUTO and (TUNE in stages or LAST_STAGE in stages)
    steps = (config.epochs or DEFAULT_EPOCHS) * STEP_COST * len(splits.train) if fine_tunes else 0.0
    return RankedNetwork(
        mean_average_precision=probe.mean_average_precision,
        arch=str(network.arch),
        image_size=network.input_spec.height,
        weights=network.weights if weights == AUTO else weights,
        origin=network.origin,
        accuracy=probe.accuracy,
        standard_error=probe.standard_error,
        feature_seconds=seconds if computed else 0.0,
        seconds_per_image=timed,
        training_seconds=timed * (total + steps),
        training_multiply_adds=count_multiply_adds(network.module, network.input_spec)[""] * (total + steps),
        parameter_bytes=sum(value.nbytes for value in network.module.state_dict().values()),
    )
