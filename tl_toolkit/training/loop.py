"""The training loop: steps on train, evaluations on val, and their records."""

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from tl_toolkit.config.choices import Task
from tl_toolkit.errors import TrainingError
from tl_toolkit.events import EvalRecord, Record, StepRecord, TrainingProgress
from tl_toolkit.metrics.base import Value
from tl_toolkit.metrics.meter import Meter
from tl_toolkit.system.processes import broadcast, is_first
from tl_toolkit.text import named
from tl_toolkit.training.averaging import Averaging, averaged, update_average
from tl_toolkit.training.divided import divided_step
from tl_toolkit.training.evaluation import Batches, Prepare, evaluate_batches
from tl_toolkit.training.failures import as_training_error
from tl_toolkit.training.layers import is_batch_norm
from tl_toolkit.training.losses import Criterion
from tl_toolkit.training.mixing import Mixing

if TYPE_CHECKING:
    from accelerate import Accelerator

StepResult = tuple[torch.Tensor, torch.Tensor, torch.Tensor] | Meter
"""Loss, logits and targets of a step, or what was counted of a divided one."""

TRAINING_METRICS: Mapping[Task, tuple[str, ...]] = {
    "multi-class": ("accuracy",),
    "multi-label": ("subset_accuracy", "mean_average_precision", "mean_average_precision_error"),
    "soft": ("accuracy",),
}
"""Computed on val while training, beside the loss."""

PROGRESS_SECONDS = 0.25
"""Seconds between reports of progress. A report reads the loss back from the device, which has to wait for it."""


@dataclass(frozen=True)
class Stage:
    """Everything that `fit` needs to train one stage.

    Attributes:
        name: "probe", "last-stage" or "tune".
        module: The network, or the head alone.
        trainable: Names of the modules that train; "" is the whole module.
        optimizer: Updates the parameters that train.
        schedule: Advances after each step.
        train: Batches with a length and `set_epoch(epoch, first)`, which chooses the batches that come next.
        val: Batches of the val split.
        prepare: Turns a batch into the module's input.
        epochs: Passes over train.
        classes: Number of classes.
        criterion: The training loss.
        clip_gradient: Largest gradient norm; None for no limit.
        eval_every: Steps between evaluations within an epoch; None to evaluate only at the end of each epoch.
        log_every: Steps between StepRecords; None for none.
        frozen_norm: Keep BatchNorm in eval mode, also in the modules that train, so that its statistics do not change.
        averaging: The moving average of the trained weights, which is then evaluated; None for no average.
        mixing: Mixes the images of a batch; None to leave them unmixed.
        task: What the targets are.
        eval_context: Makes the context of an evaluation: the precision of prediction, not that of training.
        is_divided: Whether `train` yields the shares of a batch that this process computes, not whole batches.
        trained: What a divided step calls: the module, or what exchanges its gradients with other processes.
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
    criterion: Criterion
    clip_gradient: float | None
    eval_every: int | None = None
    log_every: int | None = None
    frozen_norm: bool = False
    averaging: Averaging | None = None
    mixing: Mixing | None = None
    task: Task = "multi-class"
    eval_context: Callable[[], contextlib.AbstractContextManager[Any]] = contextlib.nullcontext
    is_divided: bool = False
    trained: nn.Module | None = None


class MetricWindow:
    """Loss, accuracy and speed over consecutive steps.

    Args:
        device: Where the batches are.
        elapsed: Seconds of the window that have passed already.
    """

    def __init__(self, device: torch.device, elapsed: float = 0.0) -> None:
        self.meter = Meter(device)
        self._started = time.perf_counter() - elapsed

    @property
    def images(self) -> int:
        """Number of images in it."""
        return self.meter.images

    def count(self, result: StepResult, task: Task) -> None:
        """Add a step."""
        if isinstance(result, Meter):
            self.meter.add(result)
        else:
            self.meter.update(*result, task)

    @property
    def seconds(self) -> float:
        """Seconds since it began."""
        return time.perf_counter() - self._started


class StageProgress:
    """How far a stage is.

    Args:
        device: Where the batches are.

    Attributes:
        step: Steps done in the stage.
        since_eval: The steps since the last EvalRecord.
        since_log: The steps since the last StepRecord.
        average: Moving averages of the trained weights by name; empty before the first step and without an average.
    """

    def __init__(self, device: torch.device) -> None:
        self.step = 0
        self.since_eval = MetricWindow(device)
        self.since_log = MetricWindow(device)
        self.average: dict[str, torch.Tensor] = {}

    def epoch(self, steps: int) -> int:
        """Return the epoch of the last step, from 1, with `steps` steps in each epoch."""
        return max(0, self.step - 1) // steps + 1


@dataclass(frozen=True)
class StepEnd:
    """The end of a step or of an evaluation: it is safe to write a checkpoint here.

    Attributes:
        progress: How far the stage is.
        record: The evaluation that just ended, of the weights that the module holds; None after a step.
    """

    progress: StageProgress
    record: EvalRecord | None = None


def fit(
    stage: Stage, accelerator: "Accelerator", progress: StageProgress
) -> Iterator[TrainingProgress | Record | StepEnd]:
    """Train a stage from where it is to its end.

    Args:
        stage: What to train.
        accelerator: Handles devices and the backward pass.
        progress: Where to begin; updated at every step.

    Yields:
        A StepEnd after every step; a TrainingProgress a few times a second; a StepRecord every `log_every` steps; and
        after every epoch and every `eval_every` steps an EvalRecord, then a StepEnd that holds it.

    Raises:
        TrainingError: The loss is not finite, or a step fails.
    """
    steps = len(stage.train)
    reported = time.perf_counter()
    yield from _records_due(stage, progress, accelerator.device)
    for epoch in range(progress.step // steps + 1, stage.epochs + 1):
        _set_train_mode(stage)
        for result in _train_epoch(stage, accelerator, progress, epoch):
            progress.step += 1
            if stage.averaging:
                weights = trained_weights(stage.module, stage.trainable)
                update_average(progress.average, weights, stage.averaging, progress.step)
            progress.since_eval.count(result, stage.task)
            if stage.log_every:
                progress.since_log.count(result, stage.task)
            yield StepEnd(progress)
            yield from _records_due(stage, progress, accelerator.device)
            if time.perf_counter() - reported >= PROGRESS_SECONDS and progress.since_eval.images and is_first():
                reported = time.perf_counter()
                yield _training_progress(stage, progress)


def _records_due(stage: Stage, progress: StageProgress, device: torch.device) -> Iterator[Record | StepEnd]:
    """Yield the records that are due after this step and not yielded yet."""
    step = progress.step
    if stage.log_every and step % stage.log_every == 0 and progress.since_log.images:
        step_record = _step_record(stage, progress)
        progress.since_log = MetricWindow(device)
        yield step_record
    ends_epoch = step % len(stage.train) == 0
    if progress.since_eval.images and (ends_epoch or (stage.eval_every and step % stage.eval_every == 0)):
        eval_record = _evaluate(stage, progress, device)
        progress.since_eval = MetricWindow(device)
        yield eval_record
        yield StepEnd(progress, eval_record)
        _set_train_mode(stage)


def _training_progress(stage: Stage, progress: StageProgress) -> TrainingProgress:
    steps = len(stage.train)
    window, epoch = progress.since_eval, progress.epoch(steps)
    loss, accuracy = _compute_finite(window.meter, stage.name, epoch)
    done = progress.step - (epoch - 1) * steps
    speed = window.images / window.seconds
    exact = stage.task == "multi-label"
    rate = None if isinstance(stage.optimizer, torch.optim.LBFGS) else _learning_rate(stage)
    return TrainingProgress(stage.name, epoch, stage.epochs, done, steps, loss, accuracy, speed, exact, rate)


def _learning_rate(stage: Stage) -> float:
    """Return the rate of the first parameter group."""
    return float(stage.schedule.get_last_lr()[0])


def _step_record(stage: Stage, progress: StageProgress) -> StepRecord:
    epoch = progress.epoch(len(stage.train))
    loss, accuracy = _compute_finite(progress.since_log.meter, stage.name, epoch)
    rate, exact = _learning_rate(stage), stage.task == "multi-label"
    return StepRecord(stage.name, epoch, progress.step, loss, accuracy, rate, exact)


def _evaluate(stage: Stage, progress: StageProgress, device: torch.device) -> EvalRecord:
    window, epoch = progress.since_eval, progress.epoch(len(stage.train))
    train_loss, train_accuracy = _compute_finite(window.meter, stage.name, epoch)
    train_seconds = window.seconds
    with averaged(stage.module, progress.average), stage.eval_context():
        scores = evaluate_batches(
            stage.module,
            stage.val,
            stage.prepare,
            stage.classes,
            device,
            stage.criterion.plain,
            TRAINING_METRICS[stage.task],
            stage.task,
        )
    _check_finite(scores.loss, stage.name, epoch)
    record = EvalRecord(
        stage=stage.name,
        epoch=epoch,
        epochs=stage.epochs,
        step=progress.step,
        steps=len(stage.train),
        train_loss=train_loss,
        train_accuracy=train_accuracy,
        val_loss=scores.loss,
        val_accuracy=scores.accuracy,
        learning_rate=_learning_rate(stage),
        images=window.images,
        seconds=window.seconds,
        images_per_second=window.images / train_seconds,
        val_mean_average_precision=_number(scores.values.get("mean_average_precision")),
        val_mean_average_precision_error=_number(scores.values.get("mean_average_precision_error")),
    )
    return broadcast(record)  # Decisions follow from it, and clocks differ.


def _number(value: Value) -> float | None:
    assert not isinstance(value, tuple)
    return value


def _train_epoch(stage: Stage, accelerator: "Accelerator", progress: StageProgress, epoch: int) -> Iterator[StepResult]:
    """Train for an epoch, or for what remains of it.

    Yields:
        What each step gave.
    """
    stage.train.set_epoch(epoch, progress.step - (epoch - 1) * len(stage.train))
    with as_training_error(stage.name):
        for batch in stage.train:
            step = divided_step if stage.is_divided else _step
            result: StepResult = step(stage, accelerator, batch, progress.step)
            stage.schedule.step()
            yield result


def _step(
    stage: Stage, accelerator: "Accelerator", batch: tuple[torch.Tensor, torch.Tensor], step: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Do one step of the optimizer.

    Returns:
        Loss, logits and targets before the step.
    """
    inputs, targets = batch
    first: list[tuple[torch.Tensor, torch.Tensor]] = []

    def closure() -> torch.Tensor:
        """Compute loss and gradients; L-BFGS calls this several times in a step."""
        stage.optimizer.zero_grad()
        loss, logits = _loss(stage, inputs, targets, step)
        accelerator.backward(loss)
        if stage.clip_gradient is not None:
            accelerator.clip_grad_norm_(stage.module.parameters(), stage.clip_gradient)
        if not first:
            first.append((loss.detach(), logits.detach()))
        return loss

    stage.optimizer.step(closure)  # type: ignore[arg-type]  # torch wants a float, and takes a tensor
    return (*first[0], targets)


def _loss(stage: Stage, inputs: torch.Tensor, targets: torch.Tensor, step: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return loss and logits (N, classes) of a batch."""
    if stage.mixing is None:
        logits = stage.module(stage.prepare(inputs)).float()
        return stage.criterion(logits, targets), logits
    mixed = stage.mixing(inputs.float(), targets, step)
    logits = stage.module(stage.prepare(mixed.inputs)).float()
    own, other = stage.criterion(logits, targets), stage.criterion(logits, mixed.partners)
    return mixed.share * own + (1 - mixed.share) * other, logits


def trained_weights(module: nn.Module, trainable: Sequence[str]) -> dict[str, torch.Tensor]:
    """Return the part of a network's state_dict that belongs to the modules that train; "" is the whole network."""
    prefixes = tuple(f"{name}." if name else "" for name in trainable)
    return {name: value for name, value in module.state_dict().items() if name.startswith(prefixes)}


def _set_train_mode(stage: Stage) -> None:
    """Put the `trainable` modules in train mode, and all others in eval mode.

    Then the statistics of frozen BatchNorm do not change, and frozen dropout drops nothing.
    """
    stage.module.eval()
    for name in stage.trainable:
        stage.module.get_submodule(name).train()
    if stage.frozen_norm:
        for part in stage.module.modules():
            if is_batch_norm(part):
                part.eval()


def _compute_finite(meter: Meter, stage: str, epoch: int) -> tuple[float, float]:
    """Return the meter's loss and accuracy.

    Raises:
        TrainingError: The loss of a step was not finite, so their mean is not.
    """
    loss, accuracy = meter.compute()
    _check_finite(loss, stage, epoch)
    return loss, accuracy


def _check_finite(loss: float, stage: str, epoch: int) -> None:
    if not math.isfinite(loss):
        raise TrainingError(
            f"The loss became {loss} in epoch {epoch} of the {stage} stage. "
            "The best weights of earlier epochs are saved. "
            f"Try a tenth of the learning rate ({named('learning_rate')}, {named('head_learning_rate')}, "
            f"{named('probe_learning_rate')}), {named('clip_gradient', 1)} or {named('precision', 'fp32')}."
        )
