"""Threads that read files, and give up on a file system that does not answer."""

import atexit
import contextlib
import functools
import itertools
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from queue import SimpleQueue
from typing import Any, Generic, TypeVar

from tl_toolkit.errors import DataError, ImageError
from tl_toolkit.system.cores import cores_to_use
from tl_toolkit.text import printable

Item = TypeVar("Item")
Result = TypeVar("Result")

POLL_SECONDS = 1.0
"""Seconds between checks of what is being read."""

STALL_POLLS = 60
"""Checks after which a file is given up; counted, because time also passes while a process is stopped."""

MAX_GIVEN_UP = 8
"""Stalled threads before the file system counts as gone."""

NO_ANSWER = "the file system did not answer"

_files: dict[int, tuple[object]] = {}
"""The file that each thread is reading, in a new tuple per file. Readers neither lock nor time, because this happens
for every image; the thread that waits for them checks."""


def begin_file(path: object) -> None:
    """Record that this thread begins to read a file; `end_file` must follow."""
    _files[threading.get_ident()] = (path,)


def end_file() -> None:
    """Record that this thread has read its file."""
    _files.pop(threading.get_ident(), None)


@contextlib.contextmanager
def reading(path: object) -> Iterator[None]:
    """Record that this thread reads a file within the block; blocks may nest."""
    me = threading.get_ident()
    outer = _files.get(me)
    begin_file(path)
    try:
        yield
    finally:
        if outer is None:
            end_file()
        else:
            _files[me] = (*outer,)


class _StallDetector:
    """Count for how many checks in a row each thread has been reading the same file."""

    def __init__(self) -> None:
        self._seen: dict[int, tuple[tuple[object] | None, int]] = {}

    def overdue(self, thread: int) -> tuple[object] | None:
        """Check a thread; return its file if it has stalled, else None."""
        file = _files.get(thread)
        before, count = self._seen.get(thread, (None, 0))
        count = count + 1 if file is not None and file is before else 0
        self._seen[thread] = file, count
        return file if count >= STALL_POLLS else None


def watch_this_thread(give_up: Callable[[], object]) -> None:
    """Call `give_up`, in another thread, when a file that this thread reads stalls.

    This costs nothing per image, unlike passing it to another thread, but cannot wake this one.
    """
    watched = threading.get_ident()

    def watch() -> None:
        detector = _StallDetector()
        while not detector.overdue(watched):
            time.sleep(POLL_SECONDS)
        give_up()

    threading.Thread(target=watch, name="watch", daemon=True).start()


def reason_to_give_up() -> str:
    """Return why a file was given up."""
    return f"{NO_ANSWER} for {STALL_POLLS * POLL_SECONDS:.0f} s"


class ReadTask(Generic[Item, Result]):
    """A function that the threads of a pool apply to items."""

    def __init__(self, pool: "ReaderPool", function: Callable[[Item], Result], items: Sequence[Item]) -> None:
        self._pool = pool
        self._function = function
        self._items = items
        self._outcomes: list[tuple[bool, Any] | None] = [None] * len(items)
        self._left = len(items)
        self._next = itertools.count()  # Each index goes to one thread.
        self._running: dict[int, int] = {}
        self._lock = threading.Lock()
        self._done = threading.Event()
        if not items:
            self._done.set()

    def work(self) -> bool:
        """Process items in the calling thread until none is left.

        Returns:
            False if the thread was given up meanwhile.
        """
        me = threading.get_ident()
        for index in self._next:
            if index >= len(self._items) or self._pool.closed:
                break
            self._running[me] = index
            outcome: tuple[bool, Any]
            try:
                outcome = True, self._function(self._items[index])
            except BaseException as error:  # noqa: BLE001  # Raised by `outcomes`.
                outcome = False, error
            self._settle(index, outcome)
            if self._running.get(me) != index:
                return False
        self._running.pop(me, None)
        return True

    def outcomes(self) -> list[Result | ImageError]:
        """Wait for all items and return the result of each, or its ImageError.

        Raises:
            DataError: The file system does not answer.
            BaseException: Any other exception of the function.
        """
        detector = _StallDetector()
        while not self._done.wait(POLL_SECONDS):
            for thread, index in list(self._running.items()):
                if file := detector.overdue(thread):
                    self._give_up(thread, index, file[0])
        for outcome in self._outcomes:
            assert outcome is not None  # All are done.
            if not outcome[0] and not isinstance(outcome[1], ImageError):
                raise outcome[1]
        return [outcome[1] for outcome in self._outcomes if outcome]

    def results(self) -> list[Result]:
        """Wait for all items and return their results.

        Raises:
            ImageError: An item cannot be read.
        """
        results: list[Result] = []
        for outcome in self.outcomes():
            if isinstance(outcome, ImageError):
                raise outcome
            results.append(outcome)
        return results

    def _settle(self, index: int, outcome: tuple[bool, Any]) -> None:
        with self._lock:
            if self._outcomes[index] is None:
                self._outcomes[index] = outcome
                self._left -= 1
                if not self._left:
                    self._done.set()

    def _give_up(self, thread: int, index: int, path: object) -> None:
        """Replace a thread that is stuck with its file, which nothing can interrupt."""
        self._running.pop(thread, None)
        self._settle(index, (False, ImageError(str(path), reason_to_give_up())))
        self._pool.replace(self, path)


class ReaderPool:
    """Threads that read files; daemons, so that a stuck one does not block the exit.

    Args:
        count: Number of threads; None for `cores_to_use`.
    """

    def __init__(self, count: int | None) -> None:
        self.closed = False
        self._lock = threading.Lock()
        self._count = count
        self._given_up = 0
        self._tasks: SimpleQueue[ReadTask[Any, Any] | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        atexit.register(self.close)

    def start(self, function: Callable[[Item], Result], items: Sequence[Item]) -> ReadTask[Item, Result]:
        """Start to read; `ReadTask.outcomes` waits for the results."""
        count = self._count or cores_to_use()
        with self._lock:
            while len(self._threads) < count:
                self._add_thread()
        task = ReadTask(self, function, items)
        for _ in range(min(count, len(items))):
            self._tasks.put(task)
        return task

    def replace(self, task: ReadTask[Any, Any], path: object) -> None:
        """Start a thread that continues `task` instead of one that is stuck with `path`.

        Raises:
            DataError: Too many threads are stuck.
        """
        self._given_up += 1
        if self._given_up >= MAX_GIVEN_UP:
            raise DataError(
                f"Of {self._given_up} files {NO_ANSWER}, the last is {printable(str(path))}. Look whether its disk or "
                "network folder can be reached."
            )
        self._add_thread()
        self._tasks.put(task)

    def close(self) -> None:
        """End the threads that can end: none should work while Python shuts down."""
        self.closed = True
        atexit.unregister(self.close)
        for _ in self._threads:
            self._tasks.put(None)
        for thread in self._threads:
            if thread.ident not in _files:
                thread.join(POLL_SECONDS)

    def _add_thread(self) -> None:
        thread = threading.Thread(target=self._work, name="read", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _work(self) -> None:
        while (task := self._tasks.get()) is not None:
            if not task.work():
                self._given_up -= 1
                return


@functools.cache
def readers() -> ReaderPool:
    """Return the pool of this process, with `cores_to_use` threads."""
    return ReaderPool(None)


def call_with_stall_guard(function: Callable[..., Result], *arguments: object) -> Result:
    """Call a function that reads files in one of the threads.

    Raises:
        ImageError: The file system does not answer.
        BaseException: The exception of the function.
    """
    return readers().start(lambda values: function(*values), [arguments]).results()[0]


def _forget_threads() -> None:
    """Reset a forked process, which has none of its parent's threads."""
    readers.cache_clear()
    _files.clear()


if hasattr(os, "register_at_fork"):  # Not on Windows.
    os.register_at_fork(after_in_child=_forget_threads)
