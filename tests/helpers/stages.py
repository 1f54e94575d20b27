"""Small stages that train on features."""

import dataclasses

import numpy as np
import torch
from torch import nn

from tl_toolkit.features.batches import EvalFeatures, FeatureBatches, Features, ViewBatchSampler
from tl_toolkit.io.row_cache import MemoryRows, Rows
from tl_toolkit.runs.checkpoint import Checkpoint
from tl_toolkit.training.loop import Stage
from tl_toolkit.training.losses import Criterion
from tl_toolkit.training.optimizers import make_optimizer
from tl_toolkit.training.schedules import make_schedule
from tl_toolkit.training.state import restore_optimizer

CPU = torch.device("cpu")


def separable_features() -> Features:
    """Return 600 points of three classes, which a linear layer tells apart."""
    torch.manual_seed(0)
    targets = torch.arange(600) % 3
    inputs = torch.randn(600, 3) + 4 * nn.functional.one_hot(targets, 3)
    return Features([Rows([MemoryRows(inputs)], np.zeros(600, int), np.arange(600))], targets)


def make_stage(module: nn.Module, trainable: tuple[str, ...] = ("",), epochs: int = 5, lr: float = 0.1) -> Stage:
    """Return a stage of three steps an epoch on these features."""
    features = separable_features()
    train = FeatureBatches(features, ViewBatchSampler(600, 1, 256, seed=0), CPU)
    optimizer = make_optimizer("adamw", module, (), lr, lr, 0.0, 0.9)
    return Stage(
        name="tune",
        module=module,
        trainable=trainable,
        optimizer=optimizer,
        schedule=make_schedule(optimizer, "cosine", epochs * len(train), 0.1),
        train=train,
        val=EvalFeatures(features, 64),
        prepare=lambda inputs: inputs,
        epochs=epochs,
        classes=3,
        criterion=Criterion(),
        clip_gradient=1.0,
    )


def small_network() -> nn.Module:
    """Return a network with all that a checkpoint must hold: statistics, and draws from the random generator."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 3))


def resumable_stage(module: nn.Module, optimizer: str, checkpoint: Checkpoint | None = None) -> Stage:
    """Return a stage of nine steps of a `small_network`, from its beginning or from a checkpoint."""
    made = make_optimizer(optimizer, module, ("3",), 0.01, 0.02, 0.1, 0.9)
    if checkpoint:
        restore_optimizer(made, checkpoint.state)
    done = checkpoint.state.step if checkpoint else 0
    schedule = make_schedule(made, "cosine", 9, 0.2, done)
    return dataclasses.replace(make_stage(module, epochs=3), optimizer=made, schedule=schedule, log_every=2)


def cluster_features(sizes: list[int], spread: float = 1.0, width: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    """Features around a centre for each class, in an order of their own."""
    generator = torch.Generator().manual_seed(0)
    targets = torch.cat([torch.full((size,), target) for target, size in enumerate(sizes)])
    targets = targets[torch.randperm(len(targets), generator=generator)]
    centres = torch.randn(len(sizes), width, generator=generator)
    return centres[targets] + spread * torch.randn(len(targets), width, generator=generator), targets
