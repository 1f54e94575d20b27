"""Threads that read files, and what is done about a file system that does not answer."""

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
"""Seconds between two looks at what is being read."""

STALL_POLLS = 60
"""Looks after which a file is given up. They are counted instead of time, which also passes while a process is stopped.
"""

MAX_GIVEN_UP = 8
"""Threads that wait for a file system in vain before it is taken to be gone."""

NO_ANSWER = "the file system did not answer"

_files: dict[int, tuple[object]] = {}
"""What each thread is reading: by its identity, a new tuple for each file. Nothing here is locked or timed, because it
happens for every image; who waits for the images has the time to look."""


def begin_file(path: object) -> None:
    """Notes that this thread begins to read a file; `end_file` must follow."""
    _files[threading.get_ident()] = (path,)


def end_file() -> None:
    """Notes that this thread has read its file."""
    _files.pop(threading.get_ident(), None)


@contextlib.contextmanager
def reading(path: object) -> Iterator[None]:
    """The same for a block, where it matters less what it costs; blocks may lie within each other."""
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
    """Counts how often threads were seen to read what they had read at the look before."""

    def __init__(self) -> None:
        self._seen: dict[int, tuple[tuple[object] | None, int]] = {}

    def overdue(self, thread: int) -> tuple[object] | None:
        """Looks at a thread. What it reads where that is to be given up, else None."""
        file = _files.get(thread)
        before, count = self._seen.get(thread, (None, 0))
        count = count + 1 if file is not None and file is before else 0
        self._seen[thread] = file, count
        return file if count >= STALL_POLLS else None


def watch_this_thread(give_up: Callable[[], object]) -> None:
    """From now on calls `give_up`, in another thread, when a file that this one reads does not answer.

    This costs nothing for an image, as handing it to another thread does; but nothing can wake this one.
    """
    watched = threading.get_ident()

    def watch() -> None:
        looks = _StallDetector()
        while not looks.overdue(watched):
            time.sleep(POLL_SECONDS)
        give_up()

    threading.Thread(target=watch, name="watch", daemon=True).start()


def reason_to_give_up() -> str:
    """Why a file cannot be read that was given up."""
    return f"{NO_ANSWER} for {STALL_POLLS * POLL_SECONDS:.0f} s"


class ReadTask(Generic[Item, Result]):
    """A function over some items, each done by one of some threads.

    Args:
        readers: The threads.
        function: Reads an item.
        items: What to read.
    """

    def __init__(self, readers: "ReaderPool", function: Callable[[Item], Result], items: Sequence[Item]) -> None:
        self._readers = readers
        self._function = function
        self._items = items
        self._outcomes: list[tuple[bool, Any] | None] = [None] * len(items)
        self._left = len(items)
        self._next = itertools.count()  # Gives each index to one thread.
        self._running: dict[int, int] = {}
        self._lock = threading.Lock()
        self._done = threading.Event()
        if not items:
            self._done.set()

    def work(self) -> bool:
        """Does items until none is left, in whatever thread calls it.

        Returns:
            False where the thread was given up meanwhile.
        """
        me = threading.get_ident()
        for index in self._next:
            if index >= len(self._items) or self._readers.closed:
                break
            self._running[me] = index
            outcome: tuple[bool, Any]
            try:
                outcome = True, self._function(self._items[index])
            except BaseException as error:  # noqa: BLE001  # It is raised where the results are wanted.
                outcome = False, error
            self._settle(index, outcome)
            if self._running.get(me) != index:
                return False
        self._running.pop(me, None)
        return True

    def outcomes(self) -> list[Result | ImageError]:
        """Waits for all items.

        Returns:
            The result of each item, or the ImageError of what cannot be read.

        Raises:
            DataError: The file system does not answer at all.
            BaseException: What the function raised, but for an ImageError.
        """
        looks = _StallDetector()
        while not self._done.wait(POLL_SECONDS):
            for thread, index in list(self._running.items()):
                if file := looks.overdue(thread):
                    self._give_up(thread, index, file[0])
        for outcome in self._outcomes:
            assert outcome is not None  # All are settled.
            if not outcome[0] and not isinstance(outcome[1], ImageError):
                raise outcome[1]
        return [outcome[1] for outcome in self._outcomes if outcome]

    def results(self) -> list[Result]:
        """The same where nothing may be missing.

        Raises:
            ImageError: Something cannot be read.
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
        """Leaves a thread alone with its file, which nothing can interrupt, and puts another in its place."""
        self._running.pop(thread, None)
        self._settle(index, (False, ImageError(str(path), reason_to_give_up())))
        self._readers.replace(self, path)


class ReaderPool:
    """Threads that read files. They are daemons: one that waits for ever keeps nobody from leaving.

    Args:
        count: How many; None for as many as there are cores to use.
    """

    def __init__(self, count: int | None) -> None:
        self.closed = False
        self._lock = threading.Lock()
        self._count = count
        self._given_up = 0
        self._jobs: SimpleQueue[ReadTask[Any, Any] | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        atexit.register(self.close)

    def start(self, function: Callable[[Item], Result], items: Sequence[Item]) -> ReadTask[Item, Result]:
        """Begins to read; `ReadTask.outcomes` waits for the results."""
        count = self._count or cores_to_use()
        with self._lock:
            while len(self._threads) < count:
                self._add_thread()
        job = ReadTask(self, function, items)
        for _ in range(min(count, len(items))):
            self._jobs.put(job)
        return job

    def replace(self, job: ReadTask[Any, Any], path: object) -> None:
        """Starts a thread in the place of one that reads `path` in vain; it goes on with `job`.

        Raises:
            DataError: This happens again and again.
        """
        self._given_up += 1
        if self._given_up >= MAX_GIVEN_UP:
            raise DataError(
                f"Of {self._given_up} files {NO_ANSWER}, the last is {printable(str(path))}. Look whether its disk or "
                "network folder can be reached."
            )
        self._add_thread()
        self._jobs.put(job)

    def close(self) -> None:
        """Ends the threads that can end: none should be at work while Python is taken down."""
        self.closed = True
        atexit.unregister(self.close)
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            if thread.ident not in _files:
                thread.join(POLL_SECONDS)

    def _add_thread(self) -> None:
        thread = threading.Thread(target=self._work, name="read", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            if not job.work():
                self._given_up -= 1
                return


@functools.cache
def readers() -> ReaderPool:
    """The threads of this process, as many as there are cores to use."""
    return ReaderPool(None)


def call_with_stall_guard(function: Callable[..., Result], *arguments: object) -> Result:
    """Calls a function that reads files, in one of the threads.

    Raises:
        ImageError: The file system does not answer.
        BaseException: What the function raises.
    """

    def call(given: tuple[object, ...]) -> Result:
        return function(*given)

    [result] = readers().start(call, [arguments]).results()
    return result


def _forget_threads() -> None:
    """A forked process has none of its parent's threads."""
    readers.cache_clear()
    _files.clear()


if hasattr(os, "register_at_fork"):  # Not on Windows.
    os.register_at_fork(after_in_child=_forget_threads)
