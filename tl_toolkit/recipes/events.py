"""What a recipe tells while it runs; the terminal draws it, Python may listen to it."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tl_toolkit.training.records import Progress, Record

log = logging.getLogger("tl_toolkit")


@dataclass(frozen=True, slots=True)
class Chosen:
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
class Warned:
    """Something the user should know."""

    message: str


@dataclass(frozen=True, slots=True)
class Counted:
    """How far a task is that is no training: checking images, computing features, downloading."""

    task: str
    done: int
    total: int | None
    unit: str = "images"


@dataclass(frozen=True, slots=True)
class Wrote:
    """A file was written."""

    path: Path
    what: str


Event = Chosen | Warned | Counted | Progress | Record | Wrote
Listener = Callable[[Event], None]


def log_event(event: Event) -> None:
    """The listener where none is given: Python's logging, silent unless it is set up."""
    if isinstance(event, Warned):
        log.warning(event.message)
    elif not isinstance(event, Counted | Progress):
        log.info("%s", event)


def download_progress(listener: Listener) -> Callable[[int, int | None], None]:
    """What tells a listener how far a download is."""
    return lambda done, total: listener(Counted("download", done, total, "bytes"))
