import os
from types import SimpleNamespace

import psutil
import pytest

from tl_toolkit.system.cpu_usage import Usage, usage


class Process:
    """A process with 3 s of its own, 1 s of children that have ended, a worker of 2 s and one that has just ended."""

    def __init__(self, *times: float) -> None:
        self.times = times or (2, 1, 0.5, 0.5)

    def cpu_times(self) -> tuple[float, ...]:
        if sum(self.times) < 0:
            raise psutil.NoSuchProcess(9)
        return (*self.times, 999_999)  # waiting for disks

    def children(self) -> list["Process"]:
        return [Process(1, 1, 0, 0), Process(-1)]


def core(seconds: float) -> SimpleNamespace:
    quarter, eighth = seconds / 4, seconds / 8
    return SimpleNamespace(
        user=quarter,
        nice=quarter,
        system=eighth,
        idle=999_999,
        iowait=999_999,
        irq=eighth,
        softirq=eighth,
        steal=eighth,
    )


@pytest.fixture
def _machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {1, 2}, raising=False)
    monkeypatch.setattr(psutil, "Process", Process)
    monkeypatch.setattr(psutil, "cpu_times", lambda percpu: [core(1000), core(8), core(16)])


@pytest.mark.usefixtures("_machine")
def test_usage_is_what_others_computed_on_the_cores_of_this_process():
    assert usage().others == pytest.approx(8 + 16 - 3 - 1 - 2)


@pytest.mark.usefixtures("_machine")
@pytest.mark.parametrize("cores", [[core(1), core(2)], [SimpleNamespace(user=1, system=1, idle=1)] * 3])
def test_usage_where_the_system_does_not_tell_is_not_known(cores: list[object], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(psutil, "cpu_times", lambda percpu: cores)
    assert usage().others is None


@pytest.mark.skipif(not psutil.LINUX, reason="psutil tells less of other systems")
def test_usage_on_linux_grows_with_time():
    before, now = usage(), usage()
    assert before.others is not None
    assert now.others is not None
    assert now.time > before.time


@pytest.mark.parametrize(
    ("before", "now", "taken"),
    [
        (Usage(10, 100), Usage(14, 106), 1.5),
        (Usage(10, 100), Usage(14, 99.9), 0.0),
        (Usage(10, 100), Usage(10.5, 101), None),
        (Usage(10, None), Usage(14, None), None),
    ],
)
def test_taken_since_gives_cores_of_others_over_a_second_or_more(before: Usage, now: Usage, taken: float | None):
    assert now.taken_since(before) == taken
