"""The cores that this process may use, and how many of them it uses."""

import contextlib
import functools
import math
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

ROOT = Path("/")
"""Folder of /proc and /sys."""

QUOTA_FILES = (("cpu.max",), ("cpu.cfs_quota_us", "cpu.cfs_period_us"))
"""Processor time per period, both in microseconds, in versions 2 and 1 of control groups."""

_limit: int | None = None


def bound_cores() -> int:
    """Return how many cores this process is bound to: those of the machine, or of its container."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def usable_cores(root: Path = ROOT) -> int:
    """Return how many cores this process may use: those it is bound to, at most the quota of its control groups."""
    quota = cpu_quota(root)
    return bound_cores() if quota is None else max(1, min(bound_cores(), math.ceil(quota)))


@functools.cache
def cpu_quota(root: Path = ROOT) -> float | None:
    """Return how many cores' time the control groups grant this process; None if they set no limit.

    The limit of a group also holds for the groups within it. In a container the path may be the host's, of which only
    the end, or nothing, is visible.
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
    """Yield the folders of a group and of those around it, wherever the hierarchy may be mounted."""
    parts = PurePosixPath(path).parts[1:]
    if ".." in parts:  # The container does not see this group.
        parts = ()
    for base in (mount / controllers, mount / "cpu") if controllers else (mount, mount / "unified"):
        yield from (base.joinpath(*parts[:depth]) for depth in range(len(parts) + 1))


def _quota_of(folder: Path) -> float | None:
    for names in QUOTA_FILES:
        with contextlib.suppress(OSError, ValueError, ZeroDivisionError):  # "max" is not a number.
            quota, period = (int(word) for name in names for word in (folder / name).read_text().split())
            if quota > 0:  # Version 1 has -1 for no limit.
                return quota / period
    return None


@contextlib.contextmanager
def limited_to(cores: int | None) -> Iterator[None]:
    """Make `cores_to_use` return `cores` within the block, unless it is None."""
    global _limit
    before = _limit
    _limit = cores or before
    try:
        yield
    finally:
        _limit = before


def cores_to_use() -> int:
    """Return how many cores decoding may keep busy: the user's limit, else all usable ones."""
    return _limit or usable_cores()
