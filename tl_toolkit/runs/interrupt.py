"""Stopping a run by Ctrl-C or a scheduler's SIGTERM without losing a step."""

import contextlib
import signal
import threading
import time
from collections.abc import Iterator
from types import FrameType

from tl_toolkit.events import Callback, WarningEvent
from tl_toolkit.system.processes import world

REPEAT_SECONDS = 3.0
"""With several processes, a second signal within this time is the launcher's, which passes on what the terminal sent to
all of them."""

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
        self._since = 0.0

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
        if self.requested and world().size > 1 and time.monotonic() - self._since < REPEAT_SECONDS:
            return
        if self.requested or not self._training:
            raise KeyboardInterrupt
        self.requested, self._since = True, time.monotonic()
        again = "Ctrl-C again stops at once" if number == signal.SIGINT else "asked by SIGTERM"
        self._callback(WarningEvent(f"Stopping when this step is done and saved ({again})."))
