"""Runs in a folder at a glance, from their small files: without PyTorch, and whatever lies in the folder."""

import contextlib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import filelock

from tl_toolkit.config.config_file import read_config_file
from tl_toolkit.errors import ToolkitError
from tl_toolkit.io.files import is_file
from tl_toolkit.io.json_validation import parse_json
from tl_toolkit.io.own_files import CONFIG_FILE, IMPORT_FILE, LOCK_FILE, METRICS_FILE, MODEL_FILE
from tl_toolkit.runs.summary import SUMMARY_FILE, read_summary

State = Literal["finished", "training", "stopped", "imported", "damaged", "no run"]

SORTS = ("date", "test", "val", "time", "size", "name")

TAIL = 4096
"""Bytes at the end of metrics.jsonl that hold its last line."""


@dataclass(frozen=True)
class ListedRun:
    """A folder among runs.

    Attributes:
        path: The folder.
        state: "training" while a process holds its lock, "stopped" if it can be resumed, "imported" if its model was
            trained elsewhere, "no run" for other folders.
        detail: How far the run has come, or what is wrong.
        changed: When the run last wrote a result, seconds since 1970.
        size: Bytes of all files in it.
        values: Of summary.json, or of config.yaml for a run that is not finished; empty where neither can be read.
    """

    path: Path
    state: State
    detail: str
    changed: float
    size: int
    values: Mapping[str, Any] = field(default_factory=dict)

    @property
    def score_name(self) -> str:
        """The figure that the run is judged by, as summary.json calls it."""
        return "mean_average_precision" if self.values.get("task") == "multi-label" else "accuracy"

    def score(self, split: str) -> float | None:
        """Return that figure of val or test; None for a run that is not finished, or has no such split."""
        value = self.values.get(f"{split}_{self.score_name}")
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None

    def interval(self, split: str) -> tuple[float, float] | None:
        """Return the 95 % interval of `score`; None in runs of earlier versions."""
        intervals = self.values.get(f"{split}_intervals")
        ends = intervals.get(self.score_name) if isinstance(intervals, dict) else None
        if isinstance(ends, list) and len(ends) == 2 and all(isinstance(end, int | float) for end in ends):
            return float(ends[0]), float(ends[1])
        return None

    @property
    def seconds(self) -> float | None:
        """How long the run trained; None for one that is not finished."""
        return float(self.values["seconds"]) if "seconds" in self.values else None

    def text(self, name: str) -> str:
        """Return a value in words, empty where it is not known."""
        value = self.values.get(name)
        return str(value) if isinstance(value, str | int) else ""


def list_runs(folder: Path) -> list[ListedRun]:
    """Return what each folder within a folder is, sorted by name.

    Raises:
        ToolkitError: The folder cannot be listed.
    """
    try:
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in entries if entry.name[0] != "." and entry.is_dir())
    except OSError as error:
        raise ToolkitError(f"Cannot list {folder}: {error.strerror}.") from error
    return [look_at(folder / name) for name in names]


def look_at(folder: Path) -> ListedRun:
    """Return what a folder is: a run and its state, or something else."""
    state: State
    values: Mapping[str, Any] = {}
    try:
        state, detail, values = _read(folder)
    except ToolkitError as error:
        state, detail = "damaged", str(error)
    except OSError as error:
        state, detail = "damaged", f"it cannot be read: {error.strerror}"
    return ListedRun(folder, state, detail, _changed(folder), size_of(folder), values)


def _read(folder: Path) -> tuple[State, str, Mapping[str, Any]]:
    """Return state, detail and values of a folder.

    Raises:
        ToolkitError: A file of the run is damaged.
        OSError: The folder cannot be read.
    """
    inside = os.listdir(folder)  # noqa: PTH208  # of a folder without permission, is_file is False
    if CONFIG_FILE not in inside:
        return "no run", _describe_other(folder, inside), {}
    if is_training(folder):
        return "training", _progress(folder), read_config_file(folder / CONFIG_FILE)
    summary = read_summary(folder)
    if summary is not None:
        return "finished", "", summary
    if IMPORT_FILE in inside:
        return "imported", "trained elsewhere", read_config_file(folder / CONFIG_FILE)
    return "stopped", _progress(folder), read_config_file(folder / CONFIG_FILE)


def _describe_other(folder: Path, inside: Sequence[str]) -> str:
    """Return what a folder without settings is."""
    if not inside:
        return "empty"
    if any(is_file(folder / name / CONFIG_FILE) for name in inside):
        return "a folder of runs"
    return f"only a model, without {CONFIG_FILE}" if MODEL_FILE in inside else f"it has no {CONFIG_FILE}"


def _progress(folder: Path) -> str:
    """Return how far a run has come, from the last complete line of its metrics.

    Raises:
        ToolkitError: The line is no record.
    """
    path = folder / METRICS_FILE
    try:
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL))
            lines = file.read().split(b"\n")[:-1]  # The last line may still be being written.
    except FileNotFoundError:
        lines = []
    if not lines:
        return "before its first epoch"
    try:
        record = parse_json(lines[-1].decode())
        epochs = f" of {int(record['epochs'])}" if "epochs" in record else ""
        return f"{record['stage']}, epoch {int(record['epoch'])}{epochs}"
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise ToolkitError(f"{path} is damaged: its last line is no record of an epoch.") from error


def is_training(folder: Path) -> bool:
    """Return whether a process holds the lock of a run folder."""
    path = folder / LOCK_FILE
    if not is_file(path):
        return False
    try:
        with filelock.FileLock(path, timeout=0):
            return False
    except filelock.Timeout:
        return True
    except (OSError, NotImplementedError):  # Not ours to write.
        return False


def _changed(folder: Path) -> float:
    """Return when the newest file with results or settings was written; of other folders, when they changed."""
    times = []
    for name in (SUMMARY_FILE, METRICS_FILE, CONFIG_FILE, "."):
        with contextlib.suppress(OSError):
            times.append((folder / name).stat().st_mtime)
            if name == SUMMARY_FILE:
                break
    return max(times[:-1] or times, default=0.0)


def size_of(folder: Path) -> int:
    """Return the bytes of all files in a folder, following no link; what cannot be read counts nothing."""
    total = 0
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            with contextlib.suppress(OSError):
                if entry.is_dir(follow_symlinks=False):
                    total += size_of(Path(entry.path))
                else:
                    total += entry.stat(follow_symlinks=False).st_size
    return total


def filtered(
    runs: Iterable[ListedRun], data: str | None = None, arch: str | None = None, state: str | None = None
) -> list[ListedRun]:
    """Return the runs whose data and network have a text in their names, in a state.

    Args:
        runs: The runs.
        data: Part of the name of the data, in any case; None for all.
        arch: Part of the name of the network; None for all.
        state: One of `State`; None for all.
    """

    def fits(run: ListedRun) -> bool:
        named = all(
            part is None or part.casefold() in run.text(name).casefold()
            for name, part in (("data", data), ("arch", arch))
        )
        return named and state in (None, run.state)

    return [run for run in runs if fits(run)]


def ordered(runs: Iterable[ListedRun], by: str) -> list[ListedRun]:
    """Return the runs by one of `SORTS`: the best, the newest, the longest or the largest first; by name from a to z.

    Runs without the figure come last.
    """

    def key(run: ListedRun) -> tuple[float, str]:
        values = {"date": run.changed, "time": run.seconds, "size": run.size, "name": 0}
        value = values[by] if by in values else run.score(by)
        return -value if value is not None else float("inf"), run.path.name

    return sorted(runs, key=key)
