"""Events of a run: made up, and picked out of those that a callback received."""

from collections.abc import Iterable
from pathlib import Path

from tl_toolkit.events import (
    DecisionEvent,
    EvalRecord,
    Event,
    FileWritten,
    StepRecord,
    TaskProgress,
    TrainingProgress,
    WarningEvent,
)


def eval_record(stage: str, epoch: int, epochs: int, step: int = 0, steps: int = 10, **values: float) -> EvalRecord:
    """Return an EvalRecord at the end of an epoch, or at `step`."""
    plain = {"train_loss": 1.0, "train_accuracy": 0.5, "val_loss": 1.0, "val_accuracy": 0.5, "learning_rate": 0.1}
    last = {"images": 320, "seconds": 1.0, "images_per_second": 320.0}
    return EvalRecord(stage, epoch, epochs, step or epoch * steps, steps, **(plain | last | values))


def epoch_record(
    stage: str, epoch: int, epochs: int, loss: float, train: float, val: float, speed: float
) -> EvalRecord:
    values = {"train_loss": loss, "train_accuracy": train, "val_accuracy": val, "images_per_second": speed}
    return eval_record(stage, epoch, epochs, **values)


EVENTS: list[Event] = [
    DecisionEvent("arch", "resnet18, 64 px", "best of 4 in a quick probe: 96.3 %"),
    DecisionEvent("workers", "2", "by cores and images", detail=True),
    WarningEvent("The bundled weights know far less than ImageNet's."),
    TaskProgress("features", 64, 128),
    epoch_record("probe", 1, 2, 2.1, 0.2, 0.8, 9000.0),
    epoch_record("probe", 2, 2, 2.0, 0.3, 0.7, 9000.0),
    TrainingProgress("tune", 1, 2, 5, 10, 1.5, 0.5, 250.0),
    StepRecord("tune", 1, 7, 1.45, 0.5, 0.0123),
    eval_record("tune", 1, 2, step=8, train_loss=1.5, train_accuracy=0.5, val_accuracy=0.5, images_per_second=245.0),
    epoch_record("tune", 1, 2, 1.4, 0.5, 0.625, 245.0),
    epoch_record("tune", 2, 2, 1.2, 0.6, 1.0, 245.0),
    DecisionEvent("refit", "the head"),
    FileWritten(Path("run/model.safetensors"), "the best weights"),
]
HISTORY = """
arch        resnet18, 64 px  best of 4 in a quick probe: 96.3 %

Warning: The bundled weights know far less than ImageNet's.

probe         2/2  loss 2.000  train  30.0 %  val  70.0 %
tune        step 7  loss 1.450  train  50.0 %  lr 0.0123
tune          1/2  loss 1.500  train  50.0 %  val  50.0 %  at step 8
tune          1/2  loss 1.400  train  50.0 %  val  62.5 %  245 images/s
tune          2/2  loss 1.200  train  60.0 %  val 100.0 %  245 images/s
refit       the head

"""[1:]
"""What a display without a terminal prints of `EVENTS`."""


def decisions(events: Iterable[Event], what: str) -> list[DecisionEvent]:
    """Return the decisions about `what`, in their order."""
    return [event for event in events if isinstance(event, DecisionEvent) and event.what == what]


def warning_messages(events: Iterable[Event]) -> list[str]:
    """Return the messages of all warnings, in their order."""
    return [event.message for event in events if isinstance(event, WarningEvent)]
