"""metrics.jsonl: a line for each record."""

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tl_toolkit.errors import ToolkitError, UsageError
from tl_toolkit.events import EvalRecord, Record, StepRecord
from tl_toolkit.io.files import expand_path, is_file
from tl_toolkit.io.json_validation import mapping, record
from tl_toolkit.io.own_files import CHECKPOINT_FILE, METRICS_FILE

if TYPE_CHECKING:
    pass  # With it comes torch, which takes seconds.


def begin_metrics(folder: Path, size: int) -> list[Record]:
    """Makes metrics.jsonl, or cuts it to the length that it had at a checkpoint.

    Returns:
        What is in it then.

    Raises:
        ToolkitError: It is shorter, damaged, or cannot be written.
    """
    path = folder / METRICS_FILE
    try:
        with path.open("ab") as file:
            if file.tell() < size:
                raise ToolkitError(
                    f"{path} is shorter ({file.tell()} bytes) than at the checkpoint ({size}). Put it back, or remove "
                    f"{CHECKPOINT_FILE} to train the run from its beginning."
                )
            file.truncate(size)
    except OSError as error:
        raise ToolkitError(f"Cannot write {path}: {error.strerror}.") from error
    return _read_records(path)


def append_metrics(folder: Path, record: dict[str, Any]) -> None:
    """Adds a line to metrics.jsonl.

    Raises:
        ToolkitError: It cannot be written.
    """
    try:
        with (folder / METRICS_FILE).open("ab", buffering=0) as file:
            file.write(f"{json.dumps(record)}\n".encode())
    except OSError as error:
        raise ToolkitError(f"Cannot write {folder / METRICS_FILE}: {error.strerror}.") from error


def sync_metrics(folder: Path) -> int:
    """Flushes metrics.jsonl to the disk.

    Returns:
        Its length.
    """
    try:
        with (folder / METRICS_FILE).open("ab") as file:
            os.fsync(file.fileno())
            return file.tell()
    except OSError as error:
        raise ToolkitError(f"Cannot write {folder / METRICS_FILE}: {error.strerror}.") from error


def read_metrics(run: str) -> list[EvalRecord]:
    """The evaluations that a run's metrics.jsonl holds.

    Args:
        run: A run folder.

    Raises:
        UsageError: The folder has no such file, or no evaluation is in it.
        ToolkitError: The file is damaged.
    """
    path = expand_path(run) / METRICS_FILE
    if not is_file(path):
        raise UsageError(f"{run} is no run folder that has metrics: there is no {path}.")
    records = [record for record in _read_records(path) if isinstance(record, EvalRecord)]
    if not records:
        raise UsageError(f"{path} holds no evaluation yet; plot the run when its first epoch is over.")
    return records


def _read_records(path: Path) -> list[Record]:
    """Its lines; one that is not ended is being written, or its writer was killed."""
    try:
        whole = path.read_text(encoding="utf-8").rpartition("\n")[0]
        texts = {f"line {index}": text for index, text in enumerate(whole.splitlines(), start=1)}
        lines = {name: mapping(json.loads(text), name) for name, text in texts.items()}
        return [
            record(EvalRecord, line, name) if "val_loss" in line else record(StepRecord, line, name)
            for name, line in lines.items()
        ]
    except (OSError, ValueError, RecursionError) as error:
        raise ToolkitError(f"{path} is damaged: {error}.") from error
