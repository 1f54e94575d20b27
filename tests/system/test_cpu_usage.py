import os
from pathlib import Path

import pytest

from tl_toolkit.system.cpu_usage import Usage, usage

TICKS = os.sysconf("SC_CLK_TCK")


def process(seconds: float, of_children: float = 0.0) -> str:
    """A line of /proc/PID/stat, of a process with an odd name."""
    times = f"{seconds * TICKS:.0f} 0 {of_children * TICKS:.0f} 0"
    return f"7 (a) b (c) R {'0 ' * 10}{times} 20 0 1 0 12345\n"


def machine(root: Path, busy: dict[int, float]) -> Path:
    """A system with a process of 3 s, 1 s of children that have ended, and a worker of 2 s."""
    lines = [f"cpu {sum(busy.values()) * TICKS:.0f} 0 0 0 0 0 0 0 0 0"]
    for core, seconds in busy.items():  # A half of it as user and nice, the rest as system, irq, softirq and steal.
        quarter, eighth = f"{seconds * TICKS / 4:.0f}", f"{seconds * TICKS / 8:.0f}"
        lines.append(f"cpu{core} {quarter} {quarter} {eighth} 999999 999999 {eighth} {eighth} {eighth} 0 0")
    files = {
        "stat": "\n".join([*lines, "intr 5 0 0"]),
        "self/stat": process(3, of_children=1),
        "self/task/7/children": "8 9 ",
        "self/task/11/children": "",
        "8/stat": process(2),  # 9 has just ended.
    }
    for name, text in files.items():
        (root / "proc" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "proc" / name).write_text(text)
    return root


@pytest.fixture(autouse=True)
def _bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {1, 2}, raising=False)


def test_usage_is_what_others_computed_on_the_cores_of_this_process(tmp_path: Path):
    assert usage(machine(tmp_path, {0: 1000, 1: 8, 2: 16})).others == pytest.approx(24 - 3 - 1 - 2)


def test_usage_on_another_system_is_not_known(tmp_path: Path):
    assert usage(tmp_path).others is None


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
