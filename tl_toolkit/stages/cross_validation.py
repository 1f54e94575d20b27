"""Cross-validating a stage of fine-tuning, where val alone is too small to tell what it brings."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import nn

from tl_toolkit.data.samples import Samples
from tl_toolkit.data.targets import class_indices
from tl_toolkit.events import PROBE, Callback, EvalRecord, Event, TaskProgress, TrainingProgress, WarningEvent
from tl_toolkit.io.module_weights import load_weights
from tl_toolkit.models.freezing import trainable_modules
from tl_toolkit.stages.build import build_stage
from tl_toolkit.stages.context import RunContext
from tl_toolkit.stages.label_check import belonging_together
from tl_toolkit.training.cross_validation import assign_folds, assign_group_folds
from tl_toolkit.training.loop import StageProgress, fit, trained_weights
from tl_toolkit.training.plan import StageConfig

FOLDS = 3
"""Folds of train. Each costs a training on two thirds of the images."""


@dataclass(frozen=True, slots=True)
class StageGain:
    """What a stage brings beyond the probe that it starts from, on images that neither has learned from.

    Attributes:
        probe: Number of images that the probe has right.
        stage: Number of images that the stage has right.
        images: Number of images, each judged once.
    """

    probe: int
    stage: int
    images: int


def cross_validate_stage(context: RunContext, probe: StageConfig, stage: StageConfig) -> StageGain:
    """Train the probe and then a stage on all folds of train but one, judge both on that fold, and repeat.

    Features of the frozen part that are stored are not computed again. The network's weights and torch's random
    generator are afterwards as they were.

    Args:
        context: What the stages of the run share; one class an image.
        probe: The settings of the probe.
        stage: The settings of the stage.

    Returns:
        What the stage brings. The only image of a class is never held out.

    Raises:
        DataError: Each group alone has images of a class.
        TrainingError: The loss is not finite, or a step fails.
    """
    train, network = context.splits.train, context.network
    folds = _assign_folds(train)
    right = {probe.name: 0, stage.name: 0}
    with _unchanged(context, stage) as start:
        for fold in torch.unique(folds[folds >= 0]).tolist():
            load_weights(network.module, start, strict=False)
            _reset(network.module, network.head_modules)
            held_out, learned = (which.nonzero()[:, 0].tolist() for which in (folds == fold, folds != fold))
            splits = replace(context.splits, train=train.subset(learned), val=train.subset(held_out))
            on_fold = replace(context, splits=splits, callback=_without_decisions(context.callback))
            for config in (probe, stage):
                record = _train(on_fold, config, fold)
                right[config.name] += round(record.val_accuracy * len(held_out))
    return StageGain(right[probe.name], right[stage.name], int((folds >= 0).sum()))


def _train(context: RunContext, config: StageConfig, fold: int) -> EvalRecord:
    """Train a stage on a fold's images, and return its last evaluation, on the images of the fold."""
    with build_stage(context, config) as built:
        progress = StageProgress(context.setup.device)
        steps = len(built.stage.train) * built.config.epochs
        for event in fit(built.stage, context.accelerator, progress):
            if isinstance(event, EvalRecord):
                record = event
            if config.name != PROBE and isinstance(event, TrainingProgress):
                context.callback(TaskProgress("folds", fold * steps + progress.step, FOLDS * steps, "steps"))
    return record


def _assign_folds(train: Samples) -> torch.Tensor:
    """Return the fold of each image of train (N); -1 for the only image or group of a class."""
    targets = torch.tensor(class_indices(train.targets))
    groups = belonging_together([train])  # A copy of an image in another fold would be known there.
    return assign_group_folds(targets, groups, count=FOLDS) if groups else assign_folds(targets, count=FOLDS)


@contextmanager
def _unchanged(context: RunContext, stage: StageConfig) -> Iterator[dict[str, torch.Tensor]]:
    """Put back the weights that a stage trains, and the states of torch's random generators.

    Yields:
        Copies of these weights, the head's among them.
    """
    network = context.network
    trainable = trainable_modules(network.module, network.head_modules, stage.policy)
    before = {name: value.clone() for name, value in trained_weights(network.module, trainable).items()}
    with torch.random.fork_rng():
        torch.manual_seed(context.config.seed)
        try:
            yield before
        finally:
            load_weights(network.module, before, strict=False)


def _reset(module: nn.Module, heads: Sequence[str]) -> None:
    """Draw the weights of the head again: those of the run's probe have seen the images of all folds."""
    for name in heads:
        for part in module.get_submodule(name).modules():
            if reset := getattr(part, "reset_parameters", None):
                reset()


def _without_decisions(callback: Callback) -> Callback:
    def only_progress(event: Event) -> None:
        if isinstance(event, TaskProgress | WarningEvent):
            callback(event)

    return only_progress
