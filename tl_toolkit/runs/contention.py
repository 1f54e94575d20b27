"""Warning that a run is slow because other programs use its cores, with what helps."""

import math
import statistics
from collections.abc import Callable
from pathlib import Path

from tl_toolkit.events import Callback, EvalRecord, Event, TrainingProgress, WarningEvent
from tl_toolkit.runs.folder import resume_command
from tl_toolkit.system.cores import bound_cores
from tl_toolkit.system.cpu_usage import Usage, load_per_core, usage
from tl_toolkit.text import named, plural
from tl_toolkit.training.device import DeviceSetup
from tl_toolkit.training.threads import Threads

WINDOW_SECONDS, WINDOW_SAMPLES = 2.5, 3
"""Shortest window: the speed is the median of its samples, each a step or at least a quarter of a second of steps."""

SLOWER = 1.5
"""From this factor on, one thread of two is as fast: beside a busy core ResNet18 at 64 px had 57.5 images/s with two
threads and 132 with one, of 202.7 alone."""

MUCH_SLOWER = 2.0
"""From this factor on, slowness needs no other program to be reported: a processor slows down a little as it warms."""

CROWDED = 0.5
"""From this many missing cores on, threads and other programs measurably wait for each other."""


def warn_if_busy(
    setup: DeviceSetup, threads: Threads, callback: Callback, started: Usage, now: Usage | None = None
) -> None:
    """Warn if a run's threads would wait for other programs, or for each other because there are too many.

    Args:
        setup: The run's device.
        threads: The run's threads.
        callback: Receives the warning.
        started: The processor's time when the command began.
        now: The processor's time before the first step; by default it is measured.
    """
    taken = (now or usage()).taken_since(started)
    if threads.count == 1 or setup.device.type != "cpu":
        return
    if threads.count > bound_cores():
        found = f"The run has {threads} ({threads.reason}) on {_cores()}"
        better = named("threads", bound_cores())
        callback(WarningEvent(f"{found}: they wait for each other, and {better} is faster."))
    elif reason := _who_computes(threads, taken):
        fewer = named("threads", _free_cores(threads, taken))
        callback(WarningEvent(f"This machine is busy: {reason}. Fewer threads can be faster, such as {fewer}."))


def warn_if_threads_changed(setup: DeviceSetup, threads: Threads, callback: Callback, previous: int | None) -> None:
    """Warn that a resumed run with another number of threads may end with other bits.

    Args:
        setup: The run's device.
        threads: The run's threads.
        callback: Receives the warning.
        previous: The number of threads before; None if unknown.
    """
    if previous and previous != threads.count and setup.device.type == "cpu":
        callback(
            WarningEvent(
                f"The run resumes with {threads} ({threads.reason}), but had {previous}. Sums then round differently, "
                f"so it may not end with the same bits as without the break; with {named('threads', previous)} it does."
            )
        )


def _who_computes(threads: Threads, taken: float | None) -> str:
    """Return how much other programs use a run's cores, in words; empty if they leave it enough.

    Args:
        threads: The run's threads.
        taken: Cores that other programs use; None if unknown.
    """
    if taken is None:
        load = load_per_core()
        return f"over the last minute {load:.1f} programs computed for each core" if load and load > 1 else ""
    if taken < CROWDED or taken + threads.count <= bound_cores() + CROWDED:
        return ""
    return f"other programs take {taken:.1f} of the {_cores()} that this one may use"


def _cores() -> str:
    return plural(bound_cores(), "core")


def _free_cores(threads: Threads, taken: float | None) -> int:
    """Return the number of threads, fewer than now, that have a core each beside other programs."""
    return 1 if taken is None else max(1, min(threads.count - 1, round(bound_cores() - taken)))


class SlowdownMonitor:
    """Passes events on to a callback, and warns once if steps take far longer than before.

    It measures at each TrainingProgress, a few times a second, so it costs the steps nothing.

    Args:
        callback: Receives all events and the warning.
        threads: The run's threads.
        folder: The run folder.
        measure: Returns the processor's time; for tests.
    """

    def __init__(
        self, callback: Callback, threads: Threads, folder: Path, measure: Callable[[], Usage] | None = None
    ) -> None:
        self._callback, self._threads, self._folder, self._measure = callback, threads, folder, measure or usage
        self._has_warned, self._stage, self._fastest = False, "", math.inf
        self._samples: list[float] = []
        self._sampled_seconds = 0.0
        self._last: tuple[int, float] | None = None
        self._window_start: Usage | None = None
        self._slow_since: Usage | None = None

    def __call__(self, event: Event) -> None:
        """Pass an event on."""
        self._callback(event)
        if isinstance(event, EvalRecord):
            self._last = None  # The time until the next step is that of the evaluation.
        elif isinstance(event, TrainingProgress) and not self._has_warned:
            self._add_sample(event, self._measure())

    def _add_sample(self, event: TrainingProgress, now: Usage) -> None:
        if event.stage != self._stage:  # Its steps are not comparable.
            self._stage, self._fastest = event.stage, math.inf
            self._samples, self._sampled_seconds, self._last = [], 0.0, None
            self._window_start, self._slow_since = now, None
        step = (event.epoch - 1) * event.steps + event.step
        if self._last:
            seconds = now.time - self._last[1]
            self._samples.append(seconds / (step - self._last[0]))
            self._sampled_seconds += seconds
        self._last = step, now.time
        if self._sampled_seconds >= WINDOW_SECONDS and len(self._samples) >= WINDOW_SAMPLES:
            self._close_window(statistics.median(self._samples), now)

    def _close_window(self, seconds: float, now: Usage) -> None:
        """Compare the steps of a window with the fastest; a single slow window is not reported."""
        start, self._window_start = self._window_start, now
        self._samples, self._sampled_seconds = [], 0.0
        self._fastest = min(self._fastest, seconds)
        factor = seconds / self._fastest
        if factor < SLOWER:
            self._slow_since = None
        elif self._slow_since is None:
            self._slow_since = start
        elif message := self._explain(factor, seconds, now.taken_since(self._slow_since)):
            self._has_warned = True
            self._callback(WarningEvent(message))

    def _explain(self, factor: float, seconds: float, taken: float | None) -> str | None:
        """Return why steps are slow and what helps; None if they are not slow enough to say so."""
        found = f"Steps take {factor:.1f} times as long as before ({seconds:.2g} s, not {seconds / factor:.2g} s): "
        if reason := _who_computes(self._threads, taken):
            if self._threads.count == 1:
                return f"{found}{reason}. The run already has one thread; fewer programs at a time would help."
            command = resume_command(self._folder, threads=_free_cores(self._threads, taken))
            return (
                f"{found}{reason}, and threads wait for each other. Fewer can be faster: stop the run with Ctrl-C, "
                f"which loses nothing, and resume it with: {command}"
            )
        if factor < MUCH_SLOWER:
            return None
        return f"{found}other programs do not take its cores; a hot processor, or a disk, may have become slower."
