"""A loader's worker processes: each notes what it reads, so that its death is reported with the image."""

import contextlib
import os
import re
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from multiprocessing.sharedctypes import RawArray
from typing import Any

from torch._C import _error_if_any_worker_fails
from torch.utils.data._utils.signal_handling import _set_SIGCHLD_handler

from tl_toolkit.errors import DataError, ImageError, ToolkitError
from tl_toolkit.io.reader_threads import reason_to_give_up, watch_this_thread
from tl_toolkit.system import allocator
from tl_toolkit.text import named

DEATH = re.compile(r"DataLoader worker \(pid(?:\(s\))? ([\d, ]+)\) (.*?)\.?\s*(?:Details are lost|$)", re.MULTILINE)
"""torch's message on a worker that died, from torch/csrc/DataLoader.cpp and torch/utils/data/dataloader.py."""

WAIT = 2.0
"""Seconds until the death of a process with a broken connection shows."""

NO_ANSWER_EXIT = 75
"""Exit code of a worker whose file system does not answer: "temporary failure" of sysexits.h."""

GRACE = 10.0
"""Seconds that a worker runs on after SIGTERM. Ctrl-C and a scheduler's SIGTERM reach it too, but the run needs its
images to finish the step, and ends the workers after writing a checkpoint."""

NOTHING = 0

_loaders: "deque[WorkerMonitor]" = deque(maxlen=64)
"""The last monitors made: when an error arrives, its loader may be gone."""

_own_note: tuple[Any, int] | None = None
"""In a worker: the shared numbers, and the place of this worker's image."""


class WorkerMonitor:
    """The index of the image that each worker of a loader reads, in shared memory; the loader's `worker_init_fn`.

    Args:
        name: Returns the name of the image at an index.
        workers: Number of workers.
    """

    def __init__(self, name: Callable[[int], str], workers: int) -> None:
        self.name = name
        self._numbers = RawArray("q", 2 * workers)  # The process, and the index of the image from 1, of each.
        _loaders.append(self)

    def __call__(self, worker: int) -> None:
        """Set up a new worker."""
        global _own_note
        allocator.tune()  # A forked process has it already, a spawned one not.
        self._numbers[2 * worker] = os.getpid()
        _own_note = self._numbers, 2 * worker + 1
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, lambda _number, _frame: _end_later())
        watch_this_thread(lambda: os._exit(NO_ANSWER_EXIT))

    @property
    def processes(self) -> list[int]:
        """The processes that have started."""
        return [process for process in self._numbers[::2] if process]

    def read_by(self, process: int) -> str | None:
        """Return the image that a process was reading; None if it was reading none, or is none of these."""
        index = dict(zip(self._numbers[::2], self._numbers[1::2], strict=True)).get(process, NOTHING)
        return None if index == NOTHING else self.name(index - 1)


def _end_later() -> None:
    timer = threading.Timer(GRACE, os._exit, (128 + signal.SIGTERM,))
    timer.daemon = True
    timer.start()


def note_image(index: int | None) -> None:
    """Note in a worker that it starts to read an image, or with None that it has read it."""
    if _own_note is not None:
        numbers, place = _own_note
        numbers[place] = NOTHING if index is None else index + 1


@contextlib.contextmanager
def report_worker_deaths() -> Iterator[None]:
    """Turn the death of a worker within the block into an error that names the image that it was reading.

    Raises:
        ImageError: A worker died while it read an image.
        DataError: It died otherwise.
    """
    ended: dict[int, str] = {}
    with _noting_ends(ended):  # Also while the error is explained: torch's handler could raise in the midst of that.
        try:
            yield
        except (RuntimeError, ToolkitError, ConnectionError, EOFError) as error:  # A dead worker breaks connections.
            deaths = _find_deaths(error, ended, WAIT if isinstance(error, ConnectionError | EOFError) else 0)
            if not deaths:
                raise
            raise _death_error(deaths) from error
        finally:
            _loaders.clear()


@contextlib.contextmanager
def _noting_ends(ended: dict[int, str]) -> Iterator[None]:
    """Note within the block when a worker dies, and how.

    torch's own handler would raise an error in the midst of whatever Python does, such as saving a model. Instead, the
    loader finds out when it waits for a batch, after 5 s at most.
    """
    if not _can_handle_signals():
        yield
        return
    _set_SIGCHLD_handler()  # It happens once; the first loader would replace our handler with torch's.
    before = signal.signal(signal.SIGCHLD, lambda _number, _frame: _note_ends(ended))
    try:
        yield
    finally:
        signal.signal(signal.SIGCHLD, before)


def _can_handle_signals() -> bool:
    return hasattr(signal, "SIGCHLD") and threading.current_thread() is threading.main_thread()


def _note_ends(ended: dict[int, str]) -> None:
    for notes in list(_loaders):
        for process in notes.processes:
            if process not in ended and (how := _end_of(process)):
                ended[process] = how


def _find_deaths(error: BaseException, ended: dict[int, str], wait: float) -> dict[int, str]:
    """Return processes that died, and how, by torch's message, as noted, or as seen within `wait` seconds."""
    reported: dict[int, str] = {}
    cause: BaseException | None = error
    while cause is not None:
        reported |= _parse_deaths(str(cause))
        cause = cause.__cause__
    end = time.monotonic() + wait
    while True:
        try:
            _note_ends(ended)
            _error_if_any_worker_fails()  # Lets torch report now instead of later.
            if reported or ended or time.monotonic() >= end:
                return reported | ended
            time.sleep(0.01)
        except RuntimeError as more:
            reported |= _parse_deaths(str(more))


def _parse_deaths(message: str) -> dict[int, str]:
    """Return the processes that died, and how, of a message of torch."""
    return {int(each): how for processes, how in DEATH.findall(message) for each in processes.split(",")}


def _end_of(process: int) -> str:
    """Return how a process died; empty if it did not, or if the system does not say."""
    if not hasattr(os, "waitid"):
        return ""
    try:
        seen = os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:  # Python knows that it ended, and so does torch.
        return ""
    if seen is None or (seen.si_code == os.CLD_EXITED and not seen.si_status):
        return ""
    return f"exit code {seen.si_status}" if seen.si_code == os.CLD_EXITED else signal.strsignal(seen.si_status) or ""


def _death_error(deaths: dict[int, str]) -> DataError:
    advice = f"If it was memory that ran out, fewer {named('workers')} or a smaller {named('batch_size')} need less"
    for process, how in deaths.items():
        for notes in _loaders:
            if image := notes.read_by(process):
                if how.endswith(f"exit code {NO_ANSWER_EXIT}"):
                    return ImageError(image, reason_to_give_up())
                died = f"the worker process that read it died ({_shortly(how)})"
                return ImageError(image, f"{died}. {advice}; else remove or mend the image.")
    return DataError(f"A worker process died between two images ({_shortly(next(iter(deaths.values())))}). {advice}.")


def _shortly(how: str) -> str:
    return how.strip().removeprefix("is killed by signal: ").removeprefix("exited unexpectedly with ").rstrip(". ")
