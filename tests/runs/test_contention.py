"""What a run says of a busy machine."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.helpers.events import eval_record
from tl_toolkit.events import Event, TrainingProgress, WarningEvent
from tl_toolkit.runs import contention as pace
from tl_toolkit.runs.contention import SlowdownMonitor, warn_if_busy, warn_if_threads_changed
from tl_toolkit.system.cpu_usage import Usage
from tl_toolkit.training.threads import Threads

TWO, ONE = Threads(2, "as asked"), Threads(1, "as asked")
STEPS = 1000


@pytest.fixture(autouse=True)
def _two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "bound_cores", lambda: 2)


class Machine:
    """A stage that trains on a machine with a clock of its own."""

    def __init__(self, threads: Threads = TWO, knows: bool = True) -> None:
        self.events: list[Event] = []
        self.now = self.others = 0.0
        self.step = self.looks = 0
        self.knows = knows
        self.watch = SlowdownMonitor(self.events.append, threads, Path("runs/my run"), self.look)

    def look(self) -> Usage:
        self.looks += 1
        return Usage(self.now, self.others if self.knows else None)

    def train(self, count: int, seconds: float, taken: float = 0.0, stage: str = "tune") -> "Machine":
        """Takes steps of so many seconds while others take so many cores."""
        for _ in range(count):
            self.step += 1
            self.wait(seconds, taken)
            self.watch(TrainingProgress(stage, 1, 9, self.step, STEPS, 1.0, 0.5, 1.0))
        return self

    def wait(self, seconds: float, taken: float = 0.0) -> "Machine":
        self.now += seconds
        self.others += seconds * taken
        return self

    def evaluate(self, seconds: float) -> "Machine":
        self.wait(seconds)
        self.watch(eval_record("tune", 1, 9, step=self.step, steps=STEPS))
        return self

    @property
    def warnings(self) -> list[str]:
        return [event.message for event in self.events if isinstance(event, WarningEvent)]


def test_watch_of_steps_that_others_slow_down_says_so_once_with_what_helps():
    machine = Machine().train(30, 0.25).train(200, 0.9, taken=1.0)
    assert machine.warnings == [
        "Steps take 3.6 times as long as before (0.9 s, not 0.25 s): other programs take 1.0 of the 2 cores that this "
        "one may use, and threads wait for each other. Fewer can be faster: stop the run with Ctrl-C, which loses "
        'nothing, and resume it with: tl_toolkit.resume("runs/my run", threads=1)'
    ]
    assert len(machine.events) == 231  # All else is passed on.


def test_watch_notices_within_two_windows_and_then_looks_no_more():
    machine = Machine().train(31, 0.25).train(5, 0.9, taken=1.0)
    assert not machine.warnings
    machine.train(1, 0.9, taken=1.0)
    assert machine.warnings
    looks = machine.looks
    assert machine.train(50, 0.9).looks == looks


def test_watch_of_one_thread_advises_no_fewer():
    [warning] = Machine(ONE).train(30, 0.25).train(50, 0.5, taken=1.8).warnings
    assert warning == (
        "Steps take 2.0 times as long as before (0.5 s, not 0.25 s): other programs take 1.8 of the 2 cores that this "
        "one may use. The run already has one thread; fewer programs at a time would help."
    )


def test_watch_of_many_threads_advises_as_many_as_cores_are_left(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(pace, "bound_cores", lambda: 16)
    [warning] = Machine(Threads(16, "")).train(30, 0.25).train(50, 0.5, taken=4.2).warnings
    assert warning.endswith('tl_toolkit.resume("runs/my run", threads=12)')


def test_watch_where_nobody_takes_the_cores_says_that():
    assert not Machine().train(30, 0.25).train(50, 0.45).warnings  # A processor that grows warm.
    assert Machine().train(30, 0.25).train(50, 0.55).warnings == [
        "Steps take 2.2 times as long as before (0.55 s, not 0.25 s): other programs do not take its cores; a "
        "hot processor, or a disk, may have become slower."
    ]


def test_watch_where_the_system_says_nothing_goes_by_the_load(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(pace, "load_per_core", lambda: 2.25)
    [warning] = Machine(knows=False).train(30, 0.25).train(50, 0.5).warnings
    assert "over the last minute 2.2 programs computed for each core, and threads wait" in warning
    assert warning.endswith("threads=1)")


def test_watch_says_nothing_of_what_is_no_slowness():
    assert not Machine().train(100, 0.25, taken=1.0).warnings  # As slow from the beginning: reported before training.
    assert not Machine().train(30, 0.25).train(60, 0.35, taken=1.0).warnings
    assert not Machine().train(20, 2.0).train(100, 0.25).warnings  # The first epoch computes features.
    blip = Machine().train(31, 0.25).train(3, 2.0, taken=1.0)
    assert not blip.train(60, 0.25).warnings
    rare = Machine()
    for _ in range(30):  # Writing a checkpoint now and then.
        rare.train(4, 0.25).wait(5)
    assert not rare.warnings


def test_watch_does_not_take_evaluation_or_another_stage_for_slow_steps():
    machine = Machine()
    for _ in range(30):
        machine.train(2, 0.25).evaluate(10)
    assert not machine.warnings
    machine = Machine().train(30, 0.1, stage="probe")
    assert not machine.train(60, 0.8).warnings


def test_watch_follows_steps_that_are_quicker_than_progress_is_told():
    machine = Machine()
    for seconds, taken in ((0.005, 0.0), (0.02, 1.0)):
        for _ in range(30):
            machine.step += 49
            machine.train(1, 50 * seconds, taken)
    assert machine.warnings[0].startswith("Steps take 4.0 times as long as before (0.02 s, not 0.005 s): other")


def compute(device: str = "cpu") -> Any:
    return SimpleNamespace(device=SimpleNamespace(type=device))


BUSY = (
    "This machine is busy: other programs take 1.0 of the 2 cores that this one may use. Fewer threads can be faster, "
    "such as threads=1."
)


@pytest.mark.parametrize(
    ("threads", "device", "taken", "warnings"),
    [(TWO, "cpu", 1.0, [BUSY]), (TWO, "cpu", 0.4, []), (ONE, "cpu", 1.0, []), (TWO, "cuda", 1.0, [])],
)
def test_warn_if_busy_at_the_start_names_a_better_number(
    threads: Threads, device: str, taken: float, warnings: list[str]
):
    events: list[Any] = []
    warn_if_busy(compute(device), threads, events.append, Usage(10, 50), Usage(14, 50 + 4 * taken))
    assert [event.message for event in events] == warnings


def test_warn_if_busy_where_a_run_has_more_threads_than_cores_names_their_number():
    events: list[Any] = []
    warn_if_busy(compute(), Threads(8, "OMP_NUM_THREADS"), events.append, Usage(10, 50), Usage(14, 50))
    assert [event.message for event in events] == [
        "The run has 8 threads (OMP_NUM_THREADS) on 2 cores: they wait for each other, and threads=2 is faster."
    ]


def test_warn_if_busy_without_knowledge_goes_by_the_load(monkeypatch: pytest.MonkeyPatch):
    events: list[Any] = []
    warn_if_busy(compute(), TWO, events.append, Usage(10, None), Usage(14, None))
    assert not events
    monkeypatch.setattr(pace, "load_per_core", lambda: 1.5)
    warn_if_busy(compute(), TWO, events.append, Usage(10, None), Usage(14, None))
    assert [event.message for event in events] == [
        "This machine is busy: over the last minute 1.5 programs computed for each core. Fewer threads can be faster, "
        "such as threads=1."
    ]


def test_warn_if_threads_changed_names_the_number_that_the_run_had():
    events: list[Any] = []
    for before in (None, 1, 2):
        warn_if_threads_changed(compute(), ONE, events.append, before)
    assert [event.message for event in events] == [
        "The run resumes with 1 thread (as asked), but had 2. Sums then round differently, so it may not end with the "
        "same bits as without the break; with threads=2 it does."
    ]
