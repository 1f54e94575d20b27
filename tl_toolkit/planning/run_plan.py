"""The plan of a run: its images, network and stages, all checked before anything is written."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from tl_toolkit.config.checks import AUTO
from tl_toolkit.config.finetune import FinetuneConfig
from tl_toolkit.data.prepare import Splits, check_classes, contents_of, prepare_splits
from tl_toolkit.data.seen_images import note_splits
from tl_toolkit.data.sources.base import Source, SourceOptions, open_source
from tl_toolkit.data.sources.names import PYTHON_PREFIX
from tl_toolkit.errors import UsageError
from tl_toolkit.events import PROBE, Callback, WarningEvent, download_progress
from tl_toolkit.exports.base import export_format
from tl_toolkit.metrics.base import METRICS
from tl_toolkit.model_file import ModelMetadata, SplitFingerprints
from tl_toolkit.models.backbones import resolve_arch
from tl_toolkit.models.build import BuiltModel, build_network
from tl_toolkit.models.frozen_prefix import frozen_digest
from tl_toolkit.models.weights.resolve import InputOverrides
from tl_toolkit.planning.budget import TimeBudget
from tl_toolkit.planning.ranking import RankedNetwork, check_auto, choose_arch, largest_input
from tl_toolkit.report.tensorboard import check_tensorboard
from tl_toolkit.sampling.division import division_of_batches
from tl_toolkit.stages.context import RunContext
from tl_toolkit.system.processes import one_per_machine_first, refuse_difference, world
from tl_toolkit.system.versions import package_versions
from tl_toolkit.text import join_names, named, plural
from tl_toolkit.training.device import select_device
from tl_toolkit.training.optimizers import check_optimizer
from tl_toolkit.training.plan import StageConfig, norm_is_frozen, plan_stages


@dataclass(frozen=True)
class RunPlan:
    """What a run is going to do.

    Attributes:
        context: What its stages share.
        stages: The stages in order.
        metadata: What the model file says about the model.
        requested_weights: The weights as the user asked for them.
        ranked: The networks that --arch auto tried, best first; empty if the user named one.
    """

    context: RunContext
    stages: list[StageConfig]
    metadata: ModelMetadata
    requested_weights: str
    ranked: list[RankedNetwork]


def plan_run(config: FinetuneConfig, data: Any, callback: Callback, trust: bool, budget: TimeBudget) -> RunPlan:
    """Open the images, build the network and plan the stages. Nothing is written.

    Args:
        config: The settings.
        data: Images as Python objects, in place of the config's `data`.
        callback: Receives warnings and progress.
        trust: See `finetune`.
        budget: The time that the run may take.

    Raises:
        ToolkitError: Something does not fit; see `tl_toolkit.errors`.
    """
    if config.optimizer:
        check_optimizer(config.optimizer)
    if config.tensorboard:
        check_tensorboard()
    for name in METRICS:  # A package that adds one may be broken.
        METRICS.get(name)
    for name in config.save:
        export_format(name)
    select_device(config.device, config.precision)  # A wrong device is refused before any image is read.
    if config.tune != "linear-probe":
        division_of_batches(config.batch_size, config.accumulate)  # Refuses a size that does not fit.
    spec = _data_spec(config, data)
    with one_per_machine_first():
        source = open_source(spec, SourceOptions.from_settings(config.to_dict(), download_progress(callback)))
    data_name = config.data if data is None else PYTHON_PREFIX + source.name
    config = for_task(dataclasses.replace(config, data=data_name).with_absolute_paths(), source)
    check_classes(source, config)
    requested_weights = config.weights
    ranked: list[RankedNetwork] = []
    splits = None
    if config.arch == AUTO:
        check_auto(config)
        with one_per_machine_first():
            splits = prepare_splits(source, config, largest_input(config), callback)
        config, ranked = choose_arch(config, source, splits, callback, budget)
    with one_per_machine_first():
        network = _build_network(config, source, callback, trust)
    config = dataclasses.replace(config, weights=network.weights)
    stages = plan_stages(config, network.module)
    if splits is None:
        with one_per_machine_first():
            splits = prepare_splits(source, config, network.input_spec.min_decode_size, callback)
    setup = select_device(config.device, config.precision, network.module)
    setup.place(network.module)
    context = RunContext(config, network, source, splits, setup, callback)
    check_division(context, stages)
    if world().size > 1:
        refuse_difference("images", _comparable(splits))
        refuse_difference("weights", {"digest of the weights": frozen_digest(network.module, ())})
    metadata = _metadata(config, network, source, note_splits(splits, callback))
    return RunPlan(context, stages, metadata, requested_weights, ranked)


def for_task(config: FinetuneConfig, source: Source) -> FinetuneConfig:
    """Return the settings for the task of the data, which some settings contradict.

    Raises:
        ConfigError: Some do.
    """
    return config if source.task == "multi-class" else dataclasses.replace(config, task=source.task)


def _comparable(splits: Splits) -> dict[str, str]:
    """Return the fingerprints of the splits that are the same on machines with copies of the images."""
    prints = splits.fingerprints()
    contents = {
        name: f"{plural(len(samples), 'image')}, {prints[contents_of(name)]}"
        for name, samples in splits.present.items()
        if contents_of(name) in prints
    }
    return {name: contents.get(name, value) for name, value in prints.items() if name not in map(contents_of, contents)}


def check_division(context: RunContext, stages: Sequence[StageConfig]) -> None:
    """Say where dividing batches changes what is learned, and refuse what works only with whole ones.

    Raises:
        UsageError: The network is to be compiled.
    """
    config, tunes = context.config, [stage for stage in stages if stage.name != PROBE]
    if not tunes:
        return
    if not context.division.is_whole and config.compile:
        raise UsageError(
            f"{named('compile', True)} works in one process and without {named('accumulate')}: leave out one of them."
        )
    if config.accumulate > 1 and not norm_is_frozen(config, context.network.module):
        images = config.batch_size // config.accumulate
        context.callback(
            WarningEvent(
                f"BatchNorm learns on each of the {config.accumulate} parts of a batch, {images} images: see "
                f"{named('norm', 'frozen')}."
            )
        )


def settings_and_data(config: FinetuneConfig | None, data: Any, settings: dict[str, Any]) -> tuple[FinetuneConfig, Any]:
    """Return the settings of a call from Python or the terminal, and its images if they are Python objects.

    Args:
        config: The settings as one object; None to take `settings`.
        data: A name or path, which becomes a setting, or Python objects.
        settings: Fields of `FinetuneConfig`.

    Raises:
        ConfigError: Some settings are wrong.
        UsageError: There are both a config and settings.
    """
    if isinstance(data, str | Path):
        settings, data = {**settings, "data": str(data)}, None
    settings = {name: str(value) if isinstance(value, Path) else value for name, value in settings.items()}
    if config is None:
        return FinetuneConfig.from_values(settings), data
    if settings:
        raise UsageError(f"Pass either config or settings ({join_names(list(settings))}), not both.")
    return config, data


def _data_spec(config: FinetuneConfig, data: Any) -> Any:
    if data is None and config.data.startswith(PYTHON_PREFIX):
        raise UsageError(
            f"The run was trained on Python objects ({config.data}): resume it in Python, with the same data: "
            "tl_toolkit.resume(run, data=...)."
        )
    return config.data if data is None else data


def _build_network(config: FinetuneConfig, source: Source, callback: Callback, trust: bool) -> BuiltModel:
    torch.manual_seed(config.seed)
    return build_network(
        resolve_arch(config.arch, config.parsed_arch_options),
        1 if config.one_logit else len(source.class_names),
        config.head,
        config.weights,
        InputOverrides(config.image_size, config.in_channels),
        download_progress(callback),
        trust,
    )


def _metadata(
    config: FinetuneConfig, network: BuiltModel, source: Source, note: SplitFingerprints | None
) -> ModelMetadata:
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
        task=source.task,
        versions=package_versions(),
        split_note=note,
    )
