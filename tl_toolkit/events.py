"""What a recipe tells while it runs; the terminal draws it, Python may listen to it."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

log = logging.getLogger("tl_toolkit")

PROBE, LAST_STAGE, TUNE = "probe", "last-stage", "tune"
"""The stages that there are: of the head on frozen features, of the last stage, of everything."""

TRAINED = {PROBE: "the head", LAST_STAGE: "the last stage", TUNE: "everything"}
"""What of the network each trains, in words."""


@dataclass(frozen=True, slots=True)
class TrainingProgress:
    """Where a stage is within an epoch.

    Attributes:
        stage: "probe", "last-stage" or "tune".
        epoch: From 1.
        epochs: Epochs of the stage.
        step: Steps done in this epoch.
        steps: Steps of an epoch.
        loss: Mean since the last evaluation.
        accuracy: Share of right answers since then.
        images_per_second: Mean since then.
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
class StepRecord:
    """How training went over the last few steps: a line of metrics.jsonl where the user asked for it.

    Attributes:
        stage: "probe", "last-stage" or "tune".
        epoch: From 1.
        step: Of the stage, from 1.
        train_loss: Mean since the StepRecord before, with label smoothing and class weights.
        train_accuracy: Likewise, on augmented images, in train mode.
        learning_rate: Of the first group.
    """

    stage: str
    epoch: int
    step: int
    train_loss: float
    train_accuracy: float
    learning_rate: float


@dataclass(frozen=True, slots=True)
class EvalRecord:
    """What an evaluation on val showed: a line of metrics.jsonl for every epoch, and more where asked for.

    Attributes:
        stage: "probe", "last-stage" or "tune".
        epoch: The epoch that was under way or just over, from 1.
        epochs: Epochs of the stage.
        step: Of the stage, from 1.
        steps: Steps of an epoch.
        train_loss: Mean since the evaluation before, with label smoothing and class weights.
        train_accuracy: Likewise, on augmented images, in train mode.
        val_loss: Without them.
        val_accuracy: As a fraction.
        learning_rate: Of the first group, at the last step.
        images: Trained on since the evaluation before.
        seconds: Training and validation.
        images_per_second: Of training alone.
    """

    stage: str
    epoch: int
    epochs: int
    step: int
    steps: int
    train_loss: float
    train_accuracy: float
    val_loss: float
    val_accuracy: float
    learning_rate: float
    images: int
    seconds: float
    images_per_second: float

    @property
    def ends_epoch(self) -> bool:
        """Whether the epoch is over."""
        return self.step == self.epoch * self.steps

    def improves_on(self, other: Self | None) -> bool:
        """Whether val is judged better: by accuracy, and where that is equal by loss."""
        if other is None:
            return True
        return (self.val_accuracy, -self.val_loss) > (other.val_accuracy, -other.val_loss)


Record = StepRecord | EvalRecord


@dataclass(frozen=True, slots=True)
class DecisionEvent:
    """Something was decided.

    Attributes:
        what: By the name of its flag, where it has one.
        value: How it was decided.
        why: In a few words.
        detail: Whether it is for those alone who ask for details.
    """

    what: str
    value: str
    why: str = ""
    detail: bool = False


@dataclass(frozen=True, slots=True)
class WarningEvent:
    """Something the user should know."""

    message: str


@dataclass(frozen=True, slots=True)
class TaskProgress:
    """How far a task is that is no training: checking images, computing features, downloading."""

    task: str
    done: int
    total: int | None
    unit: str = "images"


@dataclass(frozen=True, slots=True)
class FileWritten:
    """A file was written."""

    path: Path
    what: str


Event = DecisionEvent | WarningEvent | TaskProgress | TrainingProgress | Record | FileWritten
Callback = Callable[[Event], None]


def log_event(event: Event) -> None:
    """The listener where none is given: Python's logging, silent unless it is set up."""
    if isinstance(event, WarningEvent):
        log.warning(event.message)
    elif not isinstance(event, TaskProgress | TrainingProgress):
        log.info("%s", event)


def download_progress(callback: Callback) -> Callable[[int, int | None], None]:
    """What tells a listener how far a download is."""
    return lambda done, total: callback(TaskProgress("download", done, total, "bytes"))
