"""Being asked to stop, by Ctrl-C or by a scheduler's SIGTERM, without losing a step."""

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
        callback: Told of it.

    Attributes:
        asked: The run is to be kept after this step, and ended.
    """

    def __init__(self, callback: Callback) -> None:
        self.asked = False
        self._listener = callback
        self._stepping = False

    @contextlib.contextmanager
    def heard(self) -> Iterator[None]:
        """Within the block, the first signal asks a run that takes steps to stop; any other stops it at once.

        Python hears signals in its main thread alone; elsewhere nothing is changed.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self._hear) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextlib.contextmanager
    def between_steps(self) -> Iterator[None]:
        """Within the block, someone looks at `asked` after every step."""
        self._stepping = True
        try:
            yield
        finally:
            self._stepping = False

    def _hear(self, number: int, _: FrameType | None) -> None:
        if self.asked or not self._stepping:
            raise KeyboardInterrupt
        self.asked = True
        again = "Ctrl-C again stops at once" if number == signal.SIGINT else "asked by SIGTERM"
        self._listener(WarningEvent(f"Stopping when this step is done and kept ({again})."))
