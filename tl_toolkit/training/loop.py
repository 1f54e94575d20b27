"""The training loop: steps over train, a pass over val, a record of each epoch."""

import math
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from accelerate import Accelerator
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from tl_toolkit.errors import TrainingError
from tl_toolkit.training.metrics import LOSS, FullMeter, Meter, Scores

Batches = Iterable[tuple[torch.Tensor, torch.Tensor]]
Prepare = Callable[[torch.Tensor], torch.Tensor]
"""Makes a network's input from a batch of a loader, on the device."""

PROGRESS_SECONDS = 0.25
"""How often progress is told. Telling reads the loss back from the device, which waits for it."""


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a stage is within an epoch.

    Attributes:
        stage: "probe" or "tune".
        epoch: From 1.
        epochs: Epochs of the stage.
        step: Steps done in this epoch.
        steps: Steps of an epoch.
        loss: Mean over the epoch so far.
        accuracy: Share of right answers in the epoch so far.
        images_per_second: Mean over the epoch so far.
    """

    stage: str
    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float
    accuracy: float
    images_per_second: float


@dataclass(frozen=True, slots=True)
class EpochRecord:
    """One epoch's results: a line of metrics.jsonl.

    Attributes:
        stage: "probe" or "tune".
        epoch: From 1.
        epochs: Epochs of the stage.
        train_loss: Mean over the epoch, with label smoothing.
        train_accuracy: On augmented images, in train mode.
        val_loss: Cross-entropy, without label smoothing.
        val_accuracy: As a fraction.
        learning_rate: Of the first group, at the epoch's last step.
        seconds: Training and validation.
        images_per_second: Of training alone.
    """

    stage: str
    epoch: int
    epochs: int
    train_loss: float
    train_accuracy: float
    val_loss: float
    val_accuracy: float
    learning_rate: float
    seconds: float
    images_per_second: float

    def improves_on(self, other: Self | None) -> bool:
        """Whether val is judged better: by accuracy, and where that is equal by loss."""
        if other is None:
            return True
        return (self.val_accuracy, -self.val_loss) > (other.val_accuracy, -other.val_loss)


@dataclass(frozen=True)
class Stage:
    """What one call of `fit` trains.

    Attributes:
        name: "probe" or "tune".
        module: The network, or the head alone.
        trainable: Names of the modules that are in train mode; "" is the whole module.
        optimizer: Over the parameters that train.
        schedule: Advanced after each step.
        train: Batches with `set_epoch` and a length.
        val: Batches of the val split.
        prepare: From a batch to the module's input.
        epochs: Passes over train.
        classes: Number of classes.
        label_smoothing: Of the training loss.
        clip_gradient: Largest gradient norm; None for no limit.
    """

    name: str
    module: nn.Module
    trainable: Sequence[str]
    optimizer: Optimizer
    schedule: LRScheduler
    train: Any
    val: Batches
    prepare: Prepare
    epochs: int
    classes: int
    label_smoothing: float
    clip_gradient: float | None


def fit(stage: Stage, accelerator: Accelerator) -> Iterator[Progress | EpochRecord]:
    """Trains a stage, telling how it goes.

    Args:
        stage: What to train.
        accelerator: Takes care of devices and of the backward pass.

    Yields:
        Progress a few times a second and an EpochRecord after every epoch, when the module holds that epoch's weights.

    Raises:
        TrainingError: The loss is no longer a finite number.
    """
    criterion = nn.CrossEntropyLoss(label_smoothing=stage.label_smoothing)
    for epoch in range(1, stage.epochs + 1):
        started = time.perf_counter()
        meter = Meter(stage.classes, accelerator.device)
        try:
            images = yield from _train_epoch(stage, accelerator, criterion, meter, epoch)
        except (RuntimeError, ValueError) as error:
            raise TrainingError(_why_step_failed(stage.name, error)) from error
        train_seconds = time.perf_counter() - started
        train_loss, train_accuracy = _finite(meter, stage.name, epoch)
        learning_rate = float(stage.schedule.get_last_lr()[0])
        scores = evaluate_batches(stage.module, stage.val, stage.prepare, stage.classes, accelerator.device)
        _check_finite(scores.loss, stage.name, epoch)
        yield EpochRecord(
            stage=stage.name,
            epoch=epoch,
            epochs=stage.epochs,
            train_loss=train_loss,
            train_accuracy=train_accuracy,
            val_loss=scores.loss,
            val_accuracy=scores.accuracy,
            learning_rate=learning_rate,
            seconds=time.perf_counter() - started,
            images_per_second=images / train_seconds,
        )


@torch.inference_mode()
def evaluate_batches(
    module: nn.Module, batches: Batches, prepare: Prepare, classes: int, device: torch.device
) -> Scores:
    """Judges a module on labelled batches, in eval mode.

    Args:
        module: Gives logits (N, classes).
        batches: Of a loader.
        prepare: From a batch to the module's input.
        classes: Number of classes.
        device: Where the module is.
    """
    module.eval()
    meter = FullMeter(classes, device)
    for inputs, targets in batches:
        targets = targets.to(device, non_blocking=True)
        logits = module(prepare(inputs.to(device, non_blocking=True))).float()
        meter.update(LOSS(logits, targets), logits, targets)
    return meter.scores()


def _train_epoch(
    stage: Stage, accelerator: Accelerator, criterion: nn.Module, meter: Meter, epoch: int
) -> Generator[Progress, None, int]:
    """One pass over train.

    Returns:
        The number of images.
    """
    _set_train_mode(stage.module, stage.trainable)
    stage.train.set_epoch(epoch)
    started = told = time.perf_counter()
    images = 0
    for step, (inputs, targets) in enumerate(stage.train, start=1):
        logits = stage.module(stage.prepare(inputs)).float()
        loss = criterion(logits, targets)
        accelerator.backward(loss)
        if stage.clip_gradient is not None:
            accelerator.clip_grad_norm_(stage.module.parameters(), stage.clip_gradient)
        stage.optimizer.step()
        stage.optimizer.zero_grad()
        stage.schedule.step()
        meter.update(loss, logits, targets)
        images += len(targets)
        now = time.perf_counter()
        if now - told >= PROGRESS_SECONDS:
            told = now
            loss_so_far, accuracy = _finite(meter, stage.name, epoch)
            yield Progress(
                stage.name,
                epoch,
                stage.epochs,
                step,
                len(stage.train),
                loss_so_far,
                accuracy,
                images / (now - started),
            )
    return images


def _set_train_mode(module: nn.Module, trainable: Sequence[str]) -> None:
    """Train mode for the `trainable` modules, eval mode for all else.

    So frozen BatchNorm statistics stay as they are, and frozen dropout lets everything through.
    """
    module.eval()
    for name in trainable:
        module.get_submodule(name).train()


def _finite(meter: Meter, stage: str, epoch: int) -> tuple[float, float]:
    """The meter's loss and accuracy.

    Raises:
        TrainingError: The loss is not finite: one step whose loss was not makes the mean so.
    """
    loss, accuracy = meter.compute()
    _check_finite(loss, stage, epoch)
    return loss, accuracy


def _why_step_failed(stage: str, error: Exception) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    if "DataLoader worker" in lines[0]:  # The worker's own error is the last line of its traceback.
        return f"The {stage} stage cannot go on: {lines[-1].rpartition('Error: ')[2]}"
    advice = " A smaller --batch-size or --image-size needs less." if "memory" in lines[0].lower() else ""
    return f"A step of the {stage} stage failed: {lines[0]}{advice}"


def _check_finite(loss: float, stage: str, epoch: int) -> None:
    if not math.isfinite(loss):
        raise TrainingError(
            f"The loss became {loss} in epoch {epoch} of the {stage} stage. "
            "The best weights of earlier epochs are kept. "
            "Try a tenth of the learning rate (--lr, --head-lr, --probe-lr), --clip-gradient 1 or --precision fp32."
        )
