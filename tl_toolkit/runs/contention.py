"""Noticing that a run is slow because other programs take its cores, and saying what helps."""

import math
import statistics
from collections.abc import Callable
from pathlib import Path

from tl_toolkit.events import Callback, EvalRecord, Event, TrainingProgress, WarningEvent
from tl_toolkit.runs.folder import resume_command
from tl_toolkit.system.cores import bound_cores
from tl_toolkit.system.cpu_usage import Usage, load_per_core, usage
from tl_toolkit.text import named
from tl_toolkit.training.device import DeviceSetup
from tl_toolkit.training.threads import Threads

WINDOW_SECONDS, WINDOW_SAMPLES = 2.5, 3
"""The median over so long, of so many steps or spells of a quarter of a second at least, tells how quick steps are."""

SLOWER = 1.5
"""So many times as long, and one thread of two would do as much: beside a busy core ResNet18 at 64 px had 57.5 images/s
with two threads and 132 with one, of 202.7 alone."""

MUCH_SLOWER = 2.0
"""Where nobody takes the cores: a processor that grows warm becomes somewhat slower by itself."""

CROWDED = 0.5
"""Cores that threads and other programs lack together, from which on threads are seen to wait."""


def warn_of_others(
    compute: DeviceSetup, threads: Threads, callback: Callback, began: Usage, now: Usage | None = None
) -> None:
    """Says so where a run's threads would wait for each other: for other programs, or as there are too many of them.

    Args:
        compute: Where the run computes.
        threads: That it computes with.
        callback: Told.
        began: What had been computed when the command began.
        now: What has been computed before the first step.
    """
    taken = (now or usage()).taken_since(began)
    if threads.count == 1 or compute.device.type != "cpu":
        return
    if threads.count > bound_cores():
        enough = named("threads", bound_cores())
        found = f"The run has {threads} ({threads.reason}) on {_cores()}"
        callback(WarningEvent(f"{found}: they wait for each other, and {enough} is quicker."))
    elif why := _who_computes(threads, taken):
        fewer = named("threads", _fewer(threads, taken))
        callback(WarningEvent(f"This machine is busy: {why}. Fewer threads can be quicker then, such as {fewer}."))


def warn_of_other_bits(compute: DeviceSetup, threads: Threads, callback: Callback, before: int | None) -> None:
    """Says what another number of threads does to a run that goes on.

    Args:
        compute: Where the run computes.
        threads: That it goes on with.
        callback: Told.
        before: Threads that it had; None where that is not known.
    """
    if before and before != threads.count and compute.device.type == "cpu":
        callback(
            WarningEvent(
                f"The run goes on with {threads} ({threads.reason}), but had {before}. Sums are then rounded "
                f"otherwise: it may not end with the bits that it would have had. {named('threads', before)} ends with "
                "them."
            )
        )


def _who_computes(threads: Threads, taken: float | None) -> str:
    """That other programs take a run's cores, as the system tells it; empty where they do not.

    Args:
        threads: The run's.
        taken: Cores; None where that is not known.
    """
    if taken is None:
        load = load_per_core()
        return f"over the last minute {load:.1f} programs computed for each core" if load and load > 1 else ""
    if taken < CROWDED or taken + threads.count <= bound_cores() + CROWDED:
        return ""
    return f"other programs take {taken:.1f} of the {_cores()} that this one may use"


def _cores() -> str:
    cores = bound_cores()
    return f"{cores} core{'' if cores == 1 else 's'}"


def _fewer(threads: Threads, taken: float | None) -> int:
    """Threads that have a core each beside other programs."""
    return 1 if taken is None else max(1, min(threads.count - 1, round(bound_cores() - taken)))


class PaceWatch:
    """A listener before another one, which also tells it, once, that steps take far longer than they did.

    It looks at what training tells a few times a second, so that steps cost nothing more.

    Args:
        callback: Told of all.
        threads: The run's.
        folder: The run's.
        look: Tells what has been computed; for tests.
    """

    def __init__(
        self, callback: Callback, threads: Threads, folder: Path, look: Callable[[], Usage] | None = None
    ) -> None:
        self._listener = callback
        self._threads = threads
        self._folder = folder
        self._look = look or usage
        self._has_warned = False
        self._stage = ""
        self._quickest = math.inf
        self._samples: list[float] = []
        self._sampled = 0.0
        self._last: tuple[int, float] | None = None
        self._window_began: Usage | None = None
        self._slow_since: Usage | None = None

    def __call__(self, event: Event) -> None:
        """Passes an event on."""
        self._listener(event)
        if isinstance(event, EvalRecord):
            self._last = None  # What lies between is evaluation.
        elif isinstance(event, TrainingProgress) and not self._has_warned:
            self._follow(event, self._look())

    def _follow(self, event: TrainingProgress, now: Usage) -> None:
        if event.stage != self._stage:  # Its steps are others.
            self._stage, self._quickest = event.stage, math.inf
            self._samples, self._sampled, self._last = [], 0.0, None
            self._window_began, self._slow_since = now, None
        step = (event.epoch - 1) * event.steps + event.step
        if self._last:
            seconds = now.time - self._last[1]
            self._samples.append(seconds / (step - self._last[0]))
            self._sampled += seconds
        self._last = step, now.time
        if self._sampled >= WINDOW_SECONDS and len(self._samples) >= WINDOW_SAMPLES:
            self._close_window(statistics.median(self._samples), now)

    def _close_window(self, seconds: float, now: Usage) -> None:
        """Compares a window's steps with the quickest; slow ones count from the second window in a row on."""
        began, self._window_began, self._samples, self._sampled = self._window_began, now, [], 0.0
        self._quickest = min(self._quickest, seconds)
        factor = seconds / self._quickest
        if factor < SLOWER:
            self._slow_since = None
        elif self._slow_since is None:
            self._slow_since = began
        elif message := self._why_slow(factor, seconds, now.taken_since(self._slow_since)):
            self._has_warned = True
            self._listener(WarningEvent(message))

    def _why_slow(self, factor: float, seconds: float, taken: float | None) -> str | None:
        found = f"Steps take {factor:.1f} times as long as before ({seconds:.2g} s, not {seconds / factor:.2g} s): "
        if why := _who_computes(self._threads, taken):
            if self._threads.count == 1:
                return f"{found}{why}. The run has one thread already; fewer programs at a time would help."
            fewer = _fewer(self._threads, taken)
            return (
                f"{found}{why}, and threads wait for each other. Fewer can be quicker: stop the run with Ctrl-C, which "
                f"loses nothing, and go on with: {resume_command(self._folder, threads=fewer)}"
            )
        if factor < MUCH_SLOWER:
            return None
        return (
            f"{found}other programs leave its cores alone; a processor that is hot, or a disk, may have become slower."
        )
