import os
from pathlib import Path

import pytest

from tl_toolkit.data.loaders import default_num_workers
from tl_toolkit.io import reader_threads as reading
from tl_toolkit.system import cores

V2 = "0::/user.slice/session\n"
V1 = "5:memory:/docker/abc\n4:cpu,cpuacct:/docker/abc\n0::/\n"


def machine(root: Path, groups: str, files: dict[str, str]) -> Path:
    """A system whose process is in these control groups."""
    for name, text in {"proc/self/cgroup": groups, **files}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.mark.parametrize(
    ("groups", "files", "quota"),
    [
        (V2, {}, None),
        (V2, {"user.slice/session/cpu.max": "max 100000\n"}, None),
        (V2, {"user.slice/session/cpu.max": "150000 100000\n"}, 1.5),
        (V2, {"user.slice/session/cpu.max": "400000 100000\n", "user.slice/cpu.max": "200000 100000\n"}, 2.0),
        ("0::/\n", {"cpu.max": "50000 100000\n"}, 0.5),
        ("0::/../../other\n", {"cpu.max": "300000 100000\n"}, 3.0),
        (V1, {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        (V1, {"cpu/cpu.cfs_quota_us": "250000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 2.5),
        (
            V1,
            {
                "cpu,cpuacct/docker/abc/cpu.cfs_quota_us": "100000\n",
                "cpu,cpuacct/docker/abc/cpu.cfs_period_us": "50000\n",
            },
            2.0,
        ),
        ("1:name=systemd:/\n0::/app\n", {"unified/app/cpu.max": "100000 100000\n"}, 1.0),
        ("3:cpuset:/\n", {"cpu.max": "100000 100000\n"}, None),
        ("nonsense\n", {"cpu.max": "100000 100000\n"}, None),
        ("0::/\n", {"cpu.max": "much\n"}, None),
        ("0::/\n", {"cpu.max": "100000 0\n"}, None),
    ],
)
def test_cpu_quota_is_what_the_control_groups_grant(
    groups: str, files: dict[str, str], quota: float | None, tmp_path: Path
):
    root = machine(tmp_path, groups, {f"sys/fs/cgroup/{name}": text for name, text in files.items()})
    assert cores.cpu_quota(root) == quota


def test_cpu_quota_on_another_system_is_none(tmp_path: Path):
    assert cores.cpu_quota(tmp_path) is None


@pytest.mark.parametrize(("bound", "quota", "usable"), [(8, None, 8), (8, 150_000, 2), (8, 20_000, 1), (2, 900_000, 2)])
def test_usable_cores_are_bound_ones_within_the_quota(
    bound: int, quota: int | None, usable: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(bound)), raising=False)
    root = machine(tmp_path, "0::/\n", {"sys/fs/cgroup/cpu.max": f"{quota or 'max'} 100000\n"})
    assert cores.usable_cores(root) == usable


def test_limit_holds_for_decoding_threads_and_worker_processes(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(cores, "usable_cores", lambda: 16)
    assert (cores.cores_to_use(), default_num_workers(10_000)) == (16, 8)
    with cores.limited_to(3):
        assert (cores.cores_to_use(), default_num_workers(10_000)) == (3, 1)
        threads = reading.ReaderPool(None)
        assert threads.start(str, [1, 2, 3, 4]).results() == ["1", "2", "3", "4"]
        assert len(threads._threads) == 3
        threads.close()
        with cores.limited_to(None):
            assert cores.cores_to_use() == 3
    assert cores.cores_to_use() == 16
