"""Which of the machine's cores this process may use, and how many of them it uses."""

import contextlib
import functools
import math
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

ROOT = Path("/")
"""Where /proc and /sys are."""

QUOTA_FILES = (("cpu.max",), ("cpu.cfs_quota_us", "cpu.cfs_period_us"))
"""Microseconds of processor time, and in how many they may be used up: in version 2 of control groups, and in 1."""

_limit: int | None = None


def bound_cores() -> int:
    """Cores that this process is bound to: those of the machine, or of its container."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def usable_cores(root: Path = ROOT) -> int:
    """Cores that this process may use: those it is bound to, and no more than control groups grant it.

    Args:
        root: Where /proc and /sys are.
    """
    quota = cpu_quota(root)
    return bound_cores() if quota is None else max(1, min(bound_cores(), math.ceil(quota)))


@functools.cache
def cpu_quota(root: Path = ROOT) -> float | None:
    """How many cores' time control groups grant this process; None where they set no limit.

    A group's limit holds for those in it too. In a container the path may be the host's, of which only the end, or
    nothing, is there to see.

    Args:
        root: Where /proc and /sys are.
    """
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:  # Not on Linux.
        return None
    quotas = [
        quota
        for _, controllers, path in (line.split(":", 2) for line in lines if line.count(":") >= 2)
        if not controllers or "cpu" in controllers.split(",")
        for folder in _groups(root / "sys/fs/cgroup", controllers, path)
        if (quota := _quota_of(folder))
    ]
    return min(quotas, default=None)


def _groups(mount: Path, controllers: str, path: str) -> Iterator[Path]:
    """The folders of a group and of those around it, wherever the hierarchy may be mounted."""
    parts = PurePosixPath(path).parts[1:]
    if ".." in parts:  # A group outside of what the container sees.
        parts = ()
    for base in (mount / controllers, mount / "cpu") if controllers else (mount, mount / "unified"):
        yield from (base.joinpath(*parts[:depth]) for depth in range(len(parts) + 1))


def _quota_of(folder: Path) -> float | None:
    for names in QUOTA_FILES:
        with contextlib.suppress(OSError, ValueError, ZeroDivisionError):  # "max" is no number.
            quota, period = (int(word) for name in names for word in (folder / name).read_text().split())
            if quota > 0:  # Version 1 says -1 where there is no limit.
                return quota / period
    return None


@contextlib.contextmanager
def limited_to(cores: int | None) -> Iterator[None]:
    """Within the block `cores_to_use` gives no other number; None leaves it alone."""
    global _limit
    before = _limit
    _limit = cores or before
    try:
        yield
    finally:
        _limit = before


def cores_to_use() -> int:
    """How many cores decoding may keep busy: as many as the user said, else all usable ones."""
    return _limit or usable_cores()
