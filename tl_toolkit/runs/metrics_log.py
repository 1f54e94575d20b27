"""metrics.jsonl: one line per record."""

import json
import os
from pathlib import Path
from typing import Any

from tl_toolkit.errors import ToolkitError, UsageError
from tl_toolkit.events import EvalRecord, Record, StepRecord
from tl_toolkit.io.files import expand_path, is_file
from tl_toolkit.io.json_validation import JsonObject, convert, parse_dataclass, parse_json
from tl_toolkit.io.own_files import CHECKPOINT_FILE, METRICS_FILE


def begin_metrics(folder: Path, size: int) -> list[Record]:
    """Create metrics.jsonl, or truncate it to `size`, its length at a checkpoint.

    Returns:
        The records that remain.

    Raises:
        ToolkitError: The file is shorter, damaged, or cannot be written.
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
    """Append a line to metrics.jsonl.

    Raises:
        ToolkitError: The file cannot be written.
    """
    try:
        with (folder / METRICS_FILE).open("ab", buffering=0) as file:
            file.write(f"{json.dumps(record)}\n".encode())
    except OSError as error:
        raise ToolkitError(f"Cannot write {folder / METRICS_FILE}: {error.strerror}.") from error


def sync_metrics(folder: Path) -> int:
    """Flush metrics.jsonl to the disk and return its length.

    Raises:
        ToolkitError: The file cannot be written.
    """
    try:
        with (folder / METRICS_FILE).open("ab") as file:
            os.fsync(file.fileno())
            return file.tell()
    except OSError as error:
        raise ToolkitError(f"Cannot write {folder / METRICS_FILE}: {error.strerror}.") from error


def read_metrics(run: str) -> list[EvalRecord]:
    """Return the evaluations in the metrics.jsonl of a run folder.

    Raises:
        UsageError: The folder has no such file, or the file holds no evaluation.
        ToolkitError: The file is damaged.
    """
    path = expand_path(run) / METRICS_FILE
    if not is_file(path):
        raise UsageError(f"{run} is not a run folder with metrics: there is no {path}.")
    records = [record for record in _read_records(path) if isinstance(record, EvalRecord)]
    if not records:
        raise UsageError(f"{path} holds no evaluation yet; plot the run when its first epoch is over.")
    return records


def _read_records(path: Path) -> list[Record]:
    """Read every complete line; the last one may still be being written, or its writer was killed."""
    try:
        complete = path.read_text(encoding="utf-8").rpartition("\n")[0]
        return [_parse_record(line, f"line {index}") for index, line in enumerate(complete.splitlines(), start=1)]
    except (OSError, ValueError, RecursionError) as error:
        raise ToolkitError(f"{path} is damaged: {error}.") from error


def _parse_record(line: str, name: str) -> Record:
    values = convert(parse_json(line), JsonObject, name)
    if "val_loss" in values:
        return parse_dataclass(EvalRecord, values, name)
    return parse_dataclass(StepRecord, values, name)
