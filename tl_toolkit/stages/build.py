"""Building the stages of a run: on frozen features if there are any, else on images."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.data import DataLoader

from tl_toolkit.data.loaders import ResumableLoader, dealt_eval_loader, train_loader
from tl_toolkit.events import PROBE, DecisionEvent
from tl_toolkit.features.batches import PROBE_BATCH, FeatureBatches, GatheredFeatures, ViewBatchSampler
from tl_toolkit.features.extractor import FeatureExtractor
from tl_toolkit.models.freezing import freeze_except, trainable_modules
from tl_toolkit.models.frozen_prefix import find_prefix, frozen_digest
from tl_toolkit.sampling.division import WHOLE, DividedBatches
from tl_toolkit.sampling.order import BY_SHARD, ORDER
from tl_toolkit.stages.context import RunContext
from tl_toolkit.stages.images import EVAL_BATCH
from tl_toolkit.system.processes import world
from tl_toolkit.training.divided import mean_of_each_gradient
from tl_toolkit.training.evaluation import Batches, Prepare
from tl_toolkit.training.loop import Stage
from tl_toolkit.training.mixing import Mixing
from tl_toolkit.training.optimizers import LBFGS, make_optimizer
from tl_toolkit.training.plan import (
    StageConfig,
    averaging_of,
    norm_is_frozen,
    plan_minibatch_probe,
    scheduler_of,
    warmup_share,
)
from tl_toolkit.training.schedules import make_schedule
from tl_toolkit.training.state import StageState, restore_optimizer, restore_weights

MakeStage = Callable[[StageConfig, StageState | None], Stage]
"""Builds a stage from its settings and, to resume it, its state."""


@dataclass(frozen=True)
class BuiltStage:
    """A stage that is ready to train.

    Attributes:
        stage: What `fit` trains.
        config: Its settings, with every choice made.
        make: Builds the stage again with other settings and the same optimizer.
        features: What its frozen prefix gives; None if the whole network runs on images.
    """

    stage: Stage
    config: StageConfig
    make: MakeStage
    features: FeatureExtractor | None


@contextlib.contextmanager
def build_stage(
    context: RunContext, config: StageConfig, resume_from: StageState | None = None
) -> Iterator[BuiltStage]:
    """Prepare a stage; it can be trained within the block.

    If only a part of the network trains, what comes before that part is computed once for each image (see
    `FeatureExtractor`). Otherwise the whole network runs on augmented images.

    Args:
        context: What the stages of the run share.
        config: The settings of this stage.
        resume_from: The state to resume the stage from.

    Yields:
        The stage.
    """
    network = context.network
    trainable = trainable_modules(network.module, network.head_modules, config.policy)
    freeze_except(network.module, trainable)
    if resume_from:
        restore_weights(network.module, trainable, resume_from)
    # A user's dataset may augment its images: a stage that trains more than a head needs new ones in every epoch.
    varies = config.name != PROBE and not context.splits.train.deterministic
    features = None if varies or "" in trainable else find_features(context, trainable)
    with contextlib.ExitStack() as stack:
        stack.callback(_release, context)
        if features is None:
            config = _in_batches(context, config, "the network has no frozen part that can be run alone")
            make = _stages_on_images(context, trainable)
        else:
            if reason := features.why_too_large(context.splits.train, context.classes):
                config = _in_batches(context, config, reason)
            make = _stages_on_features(context, config, trainable, features)
            stack.enter_context(features.prefix.bypassed())
        yield BuiltStage(make(config, resume_from), config, make, features)


def find_features(context: RunContext, trainable: tuple[str, ...]) -> FeatureExtractor | None:
    """Return the extractor of the features that stay the same while the `trainable` modules learn.

    Returns:
        None if the network cannot run from there alone.
    """
    images, module, setup = context.images, context.network.module, context.setup
    two = torch.stack([pixels for pixels, _ in images.plain(context.splits.train).__getitems__([0, 1])])
    module.eval()
    with setup.autocast():
        prefix = find_prefix(module, trainable, images.prepare(two.to(setup.device)))
    if prefix is None:
        return None
    return FeatureExtractor(prefix, context.config, context.network, setup, images.pipeline, context.callback)


def _stages_on_images(context: RunContext, trainable: tuple[str, ...]) -> MakeStage:
    """Return a function that builds stages that run the whole network on augmented images."""
    config, images = context.config, context.images
    train = train_loader(
        images.train(),
        config.batch_size,
        images.workers,
        config.drop_last,
        context.balanced_targets,
        context.division,
    )
    val = dealt_eval_loader(images.val(), EVAL_BATCH, images.workers)
    if config.compile:
        context.network.module.compile()  # In place: the names of its weights stay.

    def make(stage_config: StageConfig, resume_from: StageState | None) -> Stage:
        stage = _make_stage(context, stage_config, trainable, train, val, images.prepare, resume_from)
        return _with_accelerator(context, stage)

    return make


def _stages_on_features(
    context: RunContext, stage_config: StageConfig, trainable: tuple[str, ...], features: FeatureExtractor
) -> MakeStage:
    """Return a function that builds stages of what comes after the frozen prefix; a head alone runs in float32.

    The stages share the features and need the same optimizer.
    """
    head_alone = trainable == context.network.head_modules
    samples, config, setup = context.splits.train, context.config, context.setup
    batch_size = PROBE_BATCH if head_alone else config.batch_size
    if stage_config.optimizer == LBFGS:
        batch_size = len(samples)
    order = ViewBatchSampler(
        len(samples), context.views, batch_size, config.seed, config.drop_last, context.balanced_targets
    )
    # A head alone is quick: every process trains it on all features, to the same bits as a single one.
    division = WHOLE if head_alone else context.division
    train = features.train_batches(samples, context.views, order, division)
    val = features.eval_batches("val", context.splits.val, deal=not head_alone)
    feed = features.prefix.feed

    def prepare(rows: torch.Tensor) -> torch.Tensor:
        return feed(rows.float() if head_alone else setup.to_memory_format(setup.cast(rows)))

    def make(stage_config: StageConfig, resume_from: StageState | None) -> Stage:
        stage = _make_stage(context, stage_config, trainable, train, val, prepare, resume_from)
        return stage if head_alone else _with_accelerator(context, stage)

    return make


def _make_stage(
    context: RunContext,
    stage_config: StageConfig,
    trainable: tuple[str, ...],
    train: Any,
    val: Batches,
    prepare: Prepare,
    resume_from: StageState | None,
) -> Stage:
    """Assemble a stage from its batches, an optimizer and a schedule."""
    config, network, module = context.config, context.network, context.network.module
    optimizer = make_optimizer(
        stage_config.optimizer,
        module,
        network.head_modules,
        stage_config.learning_rate,
        stage_config.head_learning_rate,
        stage_config.weight_decay,
        config.momentum,
        config.layer_decay,
    )
    if resume_from:
        restore_optimizer(optimizer, resume_from)
    solved, fine_tunes = stage_config.optimizer == LBFGS, stage_config.name != PROBE
    # The probe before fine-tuning is not the training that the user wants to follow step by step.
    follows = fine_tunes or config.tune == "linear-probe"
    mixes = fine_tunes and (config.mixup or config.cutmix)
    return Stage(
        name=stage_config.name,
        module=module,
        trainable=trainable,
        optimizer=optimizer,
        schedule=make_schedule(
            optimizer,
            "constant" if solved else scheduler_of(config, stage_config.name, module),
            stage_config.epochs * len(train),
            0.0 if solved else warmup_share(config, stage_config.name, module),
            resume_from.step if resume_from else 0,
        ),
        train=train,
        val=val,
        prepare=prepare,
        epochs=stage_config.epochs,
        classes=context.classes,
        task=context.task,
        criterion=context.criterion,
        clip_gradient=None if solved else config.clip_gradient,  # L-BFGS needs the gradient itself.
        eval_every=config.eval_every if follows else None,
        log_every=config.log_every if follows else None,
        frozen_norm=fine_tunes and norm_is_frozen(config, module),
        averaging=averaging_of(config, stage_config.name, module) if fine_tunes else None,
        mixing=Mixing(config.mixup, config.cutmix, config.seed) if mixes else None,
        is_divided=isinstance(train, DividedBatches),
    )


def _with_accelerator(context: RunContext, stage: Stage) -> Stage:
    """Return the stage with the network's forward in autocast and a loader's batches on the device."""
    accelerator, train = context.accelerator, stage.train
    if isinstance(train, DataLoader):
        train = ResumableLoader(accelerator.prepare(train), train)
    # The optimizer stays torch's own: Accelerate's looks for packages in every step, a tenth of LeNet-5's time.
    trained = accelerator.prepare(stage.module)  # In several processes it exchanges the gradients of `stage.module`.
    if context.setup.device.type == "cpu" and world().size > 1:
        trained.register_comm_hook(None, mean_of_each_gradient)
    return dataclasses.replace(stage, trained=trained, train=train, eval_context=context.setup.autocast)


def _release(context: RunContext) -> None:
    """Remove what Accelerate and the compiler put around the network's forward."""
    module = context.network.module
    context.accelerator.unwrap_model(module, keep_fp32_wrapper=False)
    module.__dict__.pop("forward", None)  # What unwrapping puts back is the class's own, in the wrong place.
    module._compiled_call_impl = None
    # Otherwise Accelerate leaves the next stage of the run without autocast.
    module.__dict__.pop("_is_accelerate_prepared", None)


def _in_batches(context: RunContext, config: StageConfig, reason: str) -> StageConfig:
    """Return the settings of a probe by gradient descent if L-BFGS cannot have all features at once."""
    if config.optimizer != LBFGS:
        return config
    descent = plan_minibatch_probe(context.config)
    context.callback(DecisionEvent("probe", f"{descent.optimizer}, {descent.epochs} epochs", f"not L-BFGS: {reason}"))
    return descent


def stage_fingerprint(context: RunContext, built: BuiltStage) -> dict[str, Any]:
    """Return what must be unchanged for a stage to resume exactly: the run's fingerprint and the frozen weights."""
    trainable = built.stage.trainable
    weights = built.features.digest if built.features else ""
    if not built.features and "" not in trainable:
        weights = frozen_digest(context.network.module, trainable)
    train = built.stage.train
    while isinstance(train, DividedBatches | GatheredFeatures):
        train = train.shares
    by_shard = not isinstance(train, FeatureBatches) and context.splits.train.images.shards is not None
    return {**context.fingerprint, "pretrained weights": weights, **({ORDER: BY_SHARD} if by_shard else {})}
