"""Events of a run: made up, and picked out of those that a callback received."""

from collections.abc import Iterable

from tl_toolkit.events import DecisionEvent, EvalRecord, Event, WarningEvent


def eval_record(stage: str, epoch: int, epochs: int, step: int = 0, steps: int = 10, **values: float) -> EvalRecord:
    """Return an EvalRecord at the end of an epoch, or at `step`."""
    plain = {"train_loss": 1.0, "train_accuracy": 0.5, "val_loss": 1.0, "val_accuracy": 0.5, "learning_rate": 0.1}
    last = {"images": 320, "seconds": 1.0, "images_per_second": 320.0}
    return EvalRecord(stage, epoch, epochs, step or epoch * steps, steps, **(plain | last | values))


def decisions(events: Iterable[Event], what: str) -> list[DecisionEvent]:
    """Return the decisions about `what`, in their order."""
    return [event for event in events if isinstance(event, DecisionEvent) and event.what == what]


def warning_messages(events: Iterable[Event]) -> list[str]:
    """Return the messages of all warnings, in their order."""
    return [event.message for event in events if isinstance(event, WarningEvent)]
