"""Events of a recipe, which the terminal displays and a callback in Python receives."""

import logging
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

log = logging.getLogger("tl_toolkit")

PROBE, LAST_STAGE, TUNE = "probe", "last-stage", "tune"
"""The stages of a run: the head on frozen features, the last stage of the network, everything."""

TRAINED = {PROBE: "the head", LAST_STAGE: "the last stage", TUNE: "everything"}
"""What each stage trains, in words."""


@dataclass(frozen=True, slots=True)
class TrainingProgress:
    """Progress of a stage within an epoch, from 1, with means since the last evaluation."""

    stage: str
    epoch: int
    epochs: int
    step: int
    """Steps done in this epoch."""
    steps: int
    """Steps per epoch."""
    loss: float
    accuracy: float
    images_per_second: float
    exact: bool = False
    """Whether an image is right only if all of its labels are."""
    learning_rate: float | None = None
    """Of the first parameter group; None for L-BFGS, which searches for the length of each step."""
    budget_seconds: float | None = None
    """Seconds until the time budget ends fine-tuning; None without one."""


@dataclass(frozen=True, slots=True)
class StepRecord:
    """Training metrics of the last `log_every` steps: a line of metrics.jsonl.

    Attributes:
        stage: "probe", "last-stage" or "tune".
        epoch: From 1.
        step: Step of the stage, from 1.
        train_loss: Mean since the previous StepRecord, with label smoothing and class weights.
        train_accuracy: Likewise, on augmented images in train mode.
        learning_rate: Of the first parameter group.
        exact: Whether an image is right only if all of its labels are, with thresholds of 0.5; else not in the file.
    """

    stage: str
    epoch: int
    step: int
    train_loss: float
    train_accuracy: float
    learning_rate: float
    exact: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for a file."""
        return {name: value for name, value in asdict(self).items() if name != "exact" or value}


@dataclass(frozen=True, slots=True)
class EvalRecord:
    """Metrics of an evaluation on val: a line of metrics.jsonl per epoch, and every `eval_every` steps.

    Attributes:
        stage: "probe", "last-stage" or "tune".
        epoch: The current epoch, from 1.
        epochs: Epochs of the stage.
        step: Step of the stage, from 1.
        steps: Steps per epoch.
        train_loss: Mean since the previous evaluation, with label smoothing and class weights.
        train_accuracy: Likewise, on augmented images in train mode.
        val_loss: Without label smoothing and class weights.
        val_accuracy: As a fraction.
        learning_rate: Of the first parameter group, at the last step.
        images: Images trained on since the previous evaluation.
        seconds: Of training and validation.
        images_per_second: Of training only.
        val_mean_average_precision: As a fraction, of several labels an image; the accuracies are then the share of the
            images whose labels are all right, with a threshold of 0.5. None, and not in the file, for other data.
        val_mean_average_precision_error: Its standard error.
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
    val_mean_average_precision: float | None = None
    val_mean_average_precision_error: float | None = None

    @property
    def score(self) -> float:
        """The figure on val that models are chosen by: accuracy, or with several labels mean average precision."""
        return self.val_accuracy if self.val_mean_average_precision is None else self.val_mean_average_precision

    @property
    def score_name(self) -> str:
        """What `score` is."""
        return "accuracy" if self.val_mean_average_precision is None else "mAP"

    def standard_error(self, val_images: int) -> float:
        """Return the standard error of `score`: as the mean of independent images, or as its metric has it."""
        if self.val_mean_average_precision_error is not None:
            return self.val_mean_average_precision_error
        return math.sqrt(self.val_accuracy * (1 - self.val_accuracy) / val_images)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for a file, without those that are None."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    @property
    def ends_epoch(self) -> bool:
        """Whether the step is the last of its epoch."""
        return self.step == self.epoch * self.steps

    def improves_on(self, other: Self | None) -> bool:
        """Return whether the score on val, or with equal scores the loss on val, is better."""
        if other is None:
            return True
        return (self.score, -self.val_loss) > (other.score, -other.val_loss)


Record = StepRecord | EvalRecord


@dataclass(frozen=True, slots=True)
class EarlierRecords:
    """What a run that resumes recorded before it was stopped, oldest first."""

    records: tuple[Record, ...]


@dataclass(frozen=True, slots=True)
class DecisionEvent:
    """A decision of the toolkit.

    Attributes:
        what: The setting, by the name of its flag if it has one.
        value: The decision.
        why: The reason, in a few words.
        detail: Whether to show it only when details are requested.
    """

    what: str
    value: str
    why: str = ""
    detail: bool = False


@dataclass(frozen=True, slots=True)
class WarningEvent:
    """A warning to the user."""

    message: str


@dataclass(frozen=True, slots=True)
class TaskProgress:
    """Progress of a task other than training: checking images, computing features, downloading."""

    task: str
    done: int
    total: int | None
    unit: str = "images"


@dataclass(frozen=True, slots=True)
class FileWritten:
    """A file was written."""

    path: Path
    what: str


Event = DecisionEvent | WarningEvent | TaskProgress | TrainingProgress | EarlierRecords | Record | FileWritten
Callback = Callable[[Event], None]


class KeptWarnings:
    """A callback that keeps warnings and passes all events on.

    Args:
        callback: Receives the events.

    Attributes:
        messages: The warnings so far, each once.
    """

    def __init__(self, callback: Callback) -> None:
        self._callback = callback
        self.messages: list[str] = []

    def __call__(self, event: Event) -> None:
        """Pass an event on."""
        if isinstance(event, WarningEvent) and event.message not in self.messages:
            self.messages.append(event.message)
        self._callback(event)


def log_event(event: Event) -> None:
    """Pass an event to Python's logging, which is silent unless configured: the default callback."""
    if isinstance(event, WarningEvent):
        log.warning(event.message)
    elif not isinstance(event, TaskProgress | TrainingProgress | EarlierRecords):
        log.info("%s", event)


def download_progress(callback: Callback) -> Callable[[int, int | None], None]:
    """Return a function that reports the progress of a download to a callback."""
    return lambda done, total: callback(TaskProgress("download", done, total, "bytes"))
