"""The processor time that other programs take."""

import contextlib
import os
import time
from dataclasses import dataclass

MIN_SECONDS = 1.0
"""Shortest time to measure over: the system counts hundredths of a second."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Processor time used up to a moment.

    Attributes:
        time: Time of the measurement, by `time.perf_counter()`.
        others: Seconds of other programs on the cores that this process is bound to; None if the system does not tell.
    """

    time: float
    others: float | None

    def taken_since(self, before: "Usage") -> float | None:
        """Return how many cores other programs have used since `before`; None if unknown."""
        seconds = self.time - before.time
        if self.others is None or before.others is None or seconds < MIN_SECONDS:
            return None
        return max(0.0, (self.others - before.others) / seconds)


def usage() -> Usage:
    """Measure the processor time used until now.

    Programs started with `nice` count too: the scheduler gives those of another session as much as others.
    """
    import psutil  # Not before a command needs it.

    now = time.perf_counter()
    try:
        cores = psutil.cpu_times(percpu=True)
        bound = [cores[index] for index in os.sched_getaffinity(0)]
        busy = sum(core.user + core.nice + core.system + core.irq + core.softirq + core.steal for core in bound)
        process = psutil.Process()
        own = sum(process.cpu_times()[:4])  # user and system, of it and of its children that have ended
        for child in process.children():
            with contextlib.suppress(psutil.NoSuchProcess):  # It has ended, and its parent has its time.
                own += sum(child.cpu_times()[:4])
        return Usage(now, busy - own)
    except (psutil.Error, OSError, AttributeError, IndexError):  # On other systems than Linux.
        return Usage(now, None)


def load_per_core() -> float | None:
    """Return how many programs per core computed, or waited to, over the last minute; None on Windows."""
    try:
        return os.getloadavg()[0] / (os.cpu_count() or 1)
    except (AttributeError, OSError):
        return None
