"""Stopping a run by Ctrl-C or a scheduler's SIGTERM without losing a step."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

from tl_toolkit.events import Callback, WarningEvent

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopRequest:
    """Whether the run has been asked to stop.

    Args:
        callback: Receives a warning when it is.

    Attributes:
        requested: Write a checkpoint after this step, then stop.
    """

    def __init__(self, callback: Callback) -> None:
        self.requested = False
        self._callback = callback
        self._training = False

    @contextlib.contextmanager
    def handle_signals(self) -> Iterator[None]:
        """Within the block, the first signal asks a run that trains to stop; any other stops it at once.

        Python handles signals in its main thread alone; in another thread nothing changes.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self._handle) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextlib.contextmanager
    def checked_after_steps(self) -> Iterator[None]:
        """Within the block, the caller checks `requested` after every step."""
        self._training = True
        try:
            yield
        finally:
            self._training = False

    def _handle(self, number: int, _: FrameType | None) -> None:
        if self.requested or not self._training:
            raise KeyboardInterrupt
        self.requested = True
        again = "Ctrl-C again stops at once" if number == signal.SIGINT else "asked by SIGTERM"
        self._callback(WarningEvent(f"Stopping when this step is done and saved ({again})."))
