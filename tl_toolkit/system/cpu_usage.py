"""How much of the processor's time other programs take."""

import contextlib
import os
import time
from dataclasses import dataclass
from pathlib import Path

from tl_toolkit.system.cores import ROOT

BUSY_COLUMNS = (0, 1, 2, 5, 6, 7)
"""Of a processor's line in /proc/stat: user, nice, system, irq, softirq and steal. Programs started with `nice` count
too: the scheduler lets those of another session have as much as others."""

SHORTEST_LOOK = 1.0
"""Seconds within which nothing is known of other programs: the system counts hundredths."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What had been computed up to a moment.

    Attributes:
        time: Of `time.perf_counter()`.
        others: Seconds that other programs kept the cores busy that this process is bound to; None where the system
            does not say.
    """

    time: float
    others: float | None

    def taken_since(self, before: "Usage") -> float | None:
        """How many cores other programs took since then; None where that is not known."""
        seconds = self.time - before.time
        if self.others is None or before.others is None or seconds < SHORTEST_LOOK:
            return None
        return max(0.0, (self.others - before.others) / seconds)


def usage(root: Path = ROOT) -> Usage:
    """What has been computed until now.

    Args:
        root: Where /proc is.
    """
    now = time.perf_counter()
    try:
        own = _seconds_of_process(root / "proc/self/stat")
        for children in (root / "proc/self/task").glob("*/children"):
            for child in children.read_text().split():
                with contextlib.suppress(OSError):  # It has ended, and its parent has its time.
                    own += _seconds_of_process(root / "proc" / child / "stat")
        return Usage(now, _busy_seconds(root / "proc/stat") - own)
    except (OSError, ValueError, IndexError):
        return Usage(now, None)


def _seconds_of_process(path: Path) -> float:
    """Of a process and of its children that have ended."""
    fields = path.read_text(errors="replace").rpartition(")")[2].split()  # Before it stands a name of any characters.
    return sum(int(ticks) for ticks in fields[11:15]) / os.sysconf("SC_CLK_TCK")


def _busy_seconds(path: Path) -> float:
    names = {f"cpu{core}" for core in os.sched_getaffinity(0)}
    lines = [line.split() for line in path.read_text().splitlines() if line.startswith("cpu")]
    ticks = sum(int(words[1 + column]) for words in lines if words[0] in names for column in BUSY_COLUMNS)
    return ticks / os.sysconf("SC_CLK_TCK")


def load_per_core() -> float | None:
    """Programs that computed or waited for it over the last minute, for each core of the machine."""
    try:
        return os.getloadavg()[0] / (os.cpu_count() or 1)
    except (AttributeError, OSError):  # Windows has none.
        return None
