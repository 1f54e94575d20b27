"""Looking at everything that a run needs before it is begun."""

import dataclasses
import importlib.metadata
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from tl_toolkit.config.checks import AUTO
from tl_toolkit.config.finetune import FinetuneConfig
from tl_toolkit.data.prepare import check_classes, prepare_splits
from tl_toolkit.data.seen_images import note_splits
from tl_toolkit.data.sources.base import Source, open_source
from tl_toolkit.data.sources.names import PYTHON_PREFIX
from tl_toolkit.errors import UsageError
from tl_toolkit.events import TRAINED, Callback, DecisionEvent, WarningEvent, download_progress
from tl_toolkit.io.files import display_data, display_path
from tl_toolkit.model_file import ModelMetadata, SplitFingerprints
from tl_toolkit.models.backbones import Arch, resolve_arch
from tl_toolkit.models.build import BuiltModel, build_network
from tl_toolkit.models.classic import CLASSIC
from tl_toolkit.models.weights.resolve import InputOverrides
from tl_toolkit.planning.budget import TimeBudget
from tl_toolkit.planning.ranking import RankedNetwork, check_auto, choose_arch, largest_input
from tl_toolkit.report.tensorboard import check_tensorboard
from tl_toolkit.stages.build import Bench
from tl_toolkit.text import join_names, named
from tl_toolkit.training.device import select_device
from tl_toolkit.training.optimizers import check_optimizer
from tl_toolkit.training.plan import STAGES, StageConfig, plan
from tl_toolkit.training.threads import Threads

MAX_NAMED = 20
"""Classes that are named among the details."""

PACKAGES = ("torch", "torchvision", "timm", "tl_toolkit")


@dataclass(frozen=True)
class PreparedRun:
    """What a run does, all of it checked.

    Attributes:
        config: The settings, with full paths and the weights that were chosen.
        asked: The weights as they were asked for.
        source: The images.
        bench: What its stages share.
        stages: They, in order.
        metadata: Describes the model.
        callback: Told how it goes.
        ranked: The networks that --arch auto tried, best first; empty where the network was named.
        threads: That it computes with.
    """

    config: FinetuneConfig
    asked: str
    source: Source
    bench: Bench
    stages: list[StageConfig]
    metadata: ModelMetadata
    callback: Callback
    ranked: list[RankedNetwork]
    threads: Threads


def prepare_job(
    config: FinetuneConfig, data: Any, callback: Callback, trust: bool, budget: TimeBudget, threads: Threads
) -> PreparedRun:
    """Opens the images, builds the network and plans the stages; nothing is written yet.

    Args:
        config: The settings.
        data: Images as Python objects, in place of the config's `data`.
        callback: Told of what is odd.
        trust: See `finetune`.
        budget: The time that the run may take.
        threads: That it computes with.

    Raises:
        ToolkitError: Something does not fit; see `tl_toolkit.errors`.
    """
    if config.optimizer:
        check_optimizer(config.optimizer)
    if config.tensorboard:
        check_tensorboard()
    compute = select_device(config.device, config.precision)
    progress = download_progress(callback)
    source = open_source(_data_of(config, data), Path(config.data_root), config.download, progress)
    config = dataclasses.replace(
        config, data=config.data if data is None else PYTHON_PREFIX + source.name
    ).with_absolute_paths()
    check_classes(source, config)
    asked = config.weights
    ranked: list[RankedNetwork] = []
    splits = None
    if config.arch == AUTO:
        check_auto(config)
        splits = prepare_splits(source, config, largest_input(config), callback)
        config, ranked = choose_arch(config, source, splits, compute, callback, budget)
    network = _build(config, 1 if config.one_logit else len(source.class_names), callback, trust)
    config = dataclasses.replace(config, weights=network.weights)
    stages = plan(config, network.module)
    compute = select_device(config.device, config.precision, network.module)
    splits = splits or prepare_splits(source, config, network.input_spec.min_decode_size, callback)
    bench = Bench(config, network, len(source.class_names), splits, source.allow_hflip, compute, callback)
    metadata = _card(config, network, source, note_splits(splits))
    return PreparedRun(config, asked, source, bench, stages, metadata, callback, ranked, threads)


def report_choices(job: PreparedRun, folder: Path) -> None:
    """Says what was chosen and why: what matters at a glance, then the details, then what to know of the weights.

    Args:
        job: What the run does.
        folder: Where it does it.
    """
    bench, callback = job.bench, job.bench.callback
    for choice in (*_main_choices(job, folder), *_details(job)):
        callback(choice)
    for warning in bench.network.warnings:
        callback(WarningEvent(warning))


def _main_choices(job: PreparedRun, folder: Path) -> list[DecisionEvent]:
    config, source, bench = job.config, job.source, job.bench
    network, splits = bench.network, bench.splits
    counts = [f"{len(splits.train):,} train", f"{len(splits.val):,} val"]
    counts.append(f"{len(splits.test):,} test" if splits.test is not None else "no test")
    val = "val is taken from train" if splits.val_from_train else ""
    arch = " ".join([str(network.arch), *config.arch_options])
    spec = network.input_spec
    size = f"{spec.height} px" if spec.height == spec.width else f"{spec.height}x{spec.width} px"
    origin, where = display_data(network.origin), ""
    if origin.endswith(")"):  # As those of weights that have a name do.
        origin, _, where = network.origin[:-1].partition(" (")
    *earlier, last = (TRAINED[name] for name in STAGES[config.tune])
    stages = f"{', '.join(earlier)}, then {last}" if earlier else last
    mirrored = "mirrored" if source.allow_hflip else f"not mirrored: {source.name} has left and right"
    random = "shifts" if config.augment == "pad-crop" else "random crops"
    head = f"one logit: 0 or more is {source.class_names[1]}" if config.one_logit else "as asked"
    return [
        DecisionEvent("data", f"{source.name}, {len(source.class_names)} classes: {', '.join(counts)}", val),
        DecisionEvent("arch", f"{arch}, {size}", _why_this_arch(job)),
        DecisionEvent("weights", origin, where.split(",")[0]),
        *([] if config.head == "swap" and not config.one_logit else [DecisionEvent("head", config.head, head)]),
        DecisionEvent("tune", config.tune, f"{stages}{', while val gains' if config.tune == AUTO else ''}"),
        DecisionEvent("augment", config.augment, "" if config.augment == "none" else f"{random}, {mirrored}"),
        DecisionEvent("device", str(bench.compute)),
        DecisionEvent("run", display_path(folder)),
    ]


def _details(job: PreparedRun) -> list[DecisionEvent]:
    """The rest, and the reasons."""
    config, source, bench = job.config, job.source, job.bench
    network, compute, spec = bench.network, bench.compute, bench.network.input_spec
    channels = "grayscale" if spec.channels == 1 else "colour"
    courses = ", then ".join(
        f"{stage.name} {stage.epochs} epochs ({stage.optimizer}, lr {stage.learning_rate:g})" for stage in job.stages
    )
    size = "chosen with the network" if job.ranked else "as asked" if config.image_size else "as the weights expect"
    details = [
        ("folder", display_data(config.data), ""),
        ("classes", join_names(source.class_names, MAX_NAMED), ""),
        ("val", f"{len(bench.splits.val):,} images", bench.splits.val_origin),
        *(("ranked", str(each), "of a linear probe, cross-validated") for each in job.ranked),
        ("origin", network.origin, named("weights", job.asked)),
        *([("fallback", "", " ".join(network.fallback.split("\n")))] if network.fallback else []),
        ("licence", network.license or "not stated", "of the weights"),
        ("input", f"{channels}, {spec.height}x{spec.width} px", size),
        ("head", f"{config.head}, new: {', '.join(network.head_modules)}", ""),
        ("stages", courses, ""),
        ("precision", compute.precision, compute.reason),
        ("threads", str(job.threads.count), job.threads.reason),
        ("workers", str(bench.workers), "as asked" if config.workers is not None else "by cores and images"),
    ]
    return [DecisionEvent(what, value, why, detail=True) for what, value, why in details]


def _why_this_arch(job: PreparedRun) -> str:
    if not job.ranked:
        return _where_found(job.bench.network.arch) if ":" not in job.config.arch else ""
    config = job.config
    chosen = next(each for each in job.ranked if (each.arch, each.image_size) == (config.arch, config.image_size))
    accuracy = f"{100 * chosen.accuracy:.1f} %"
    if len(job.ranked) == 1:
        return f"the only candidate: {accuracy} in a probe"
    rule = "best" if chosen is job.ranked[0] else "as good as the best, and cheaper,"
    return f"{rule} of {len(job.ranked)} in a probe: {accuracy}"


def _where_found(arch: Arch) -> str:
    return f"{arch.name} is in {arch.library}" + (", registered there by tl" if arch.name in CLASSIC else "")


def _data_of(config: FinetuneConfig, data: Any) -> Any:
    if data is None and config.data.startswith(PYTHON_PREFIX):
        raise UsageError(
            f"The run was trained on Python objects ({config.data}): go on with it in Python, with the same data: "
            "tl_toolkit.resume(run, data=...)."
        )
    return config.data if data is None else data


def _build(config: FinetuneConfig, outputs: int, callback: Callback, trust: bool) -> BuiltModel:
    torch.manual_seed(config.seed)
    overrides = InputOverrides(config.image_size, config.in_channels)
    arch = resolve_arch(config.arch, config.parsed_arch_options)
    progress = download_progress(callback)
    return build_network(arch, outputs, config.head, config.weights, overrides, progress, trust)


def _card(config: FinetuneConfig, network: BuiltModel, source: Source, note: SplitFingerprints | None) -> ModelMetadata:
    return ModelMetadata(
        architecture=str(network.arch),
        arch_options=config.parsed_arch_options,
        one_logit=config.one_logit,
        loss=config.resolved_loss,
        head=network.head,
        base_classes=network.base_classes,
        class_names=source.class_names,
        input_spec=network.input_spec,
        weights=network.origin,
        weights_license=network.license,
        training=config.to_dict(),
        versions=versions(),
        split_note=note,
    )


def versions() -> dict[str, str]:
    """Of Python and of the packages that decide what a run learns."""
    return {"python": platform.python_version(), **{name: importlib.metadata.version(name) for name in PACKAGES}}
