"""Removing runs: only files that a run wrote, and only within the working directory or runs/."""

import contextlib
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tl_toolkit.config.config_file import read_config_file
from tl_toolkit.errors import ToolkitError, UsageError
from tl_toolkit.exports.base import export_format
from tl_toolkit.io.export_notes import NOTE_ENDING
from tl_toolkit.io.files import UNFINISHED
from tl_toolkit.io.own_files import (
    CHECKPOINT_FILE,
    CONFIG_FILE,
    IMPORT_FILE,
    LOCK_FILE,
    METRICS_FILE,
    MODEL_FILE,
    RUN_FILES,
    is_run_folder,
)
from tl_toolkit.runs.folder import (
    BAD_IMAGES_FILE,
    CURVES_FILE,
    LAST_FILE,
    RUNS,
    TENSORBOARD_FOLDER,
    find_run,
    lock_folder,
)
from tl_toolkit.runs.listing import is_training
from tl_toolkit.runs.summary import SUMMARY_FILE

WRITTEN = {
    MODEL_FILE,
    LAST_FILE,
    CHECKPOINT_FILE,
    METRICS_FILE,
    CURVES_FILE,
    BAD_IMAGES_FILE,
    SUMMARY_FILE,
    CONFIG_FILE,
    IMPORT_FILE,
    LOCK_FILE,
    "predictions.safetensors",  # The modules of these import torch.
    "suspicious_labels.csv",
    "report.html",
    "model_card.md",
}
"""What a run writes, besides TensorBoard's files and the formats of --save."""

BOARD_FILE = "events.out.tfevents."


@dataclass(frozen=True)
class Removal:
    """What removing a run removes.

    Attributes:
        folder: The run folder.
        files: Files of the run, the settings last: without them it would be no run any more.
        size: Their bytes.
        kept: Names of other files and folders in it, which stay.
    """

    folder: Path
    files: list[Path]
    size: int
    kept: list[str]


def plan_removal(run: str) -> Removal:
    """Find what to remove of a run, named by its path or its name under runs/.

    Raises:
        UsageError: It is no run folder, a link, outside of the working directory, or a run trains there now.
        ToolkitError: The folder cannot be listed.
    """
    folder = find_run(run)
    if folder.is_symlink():
        raise UsageError(f"{folder} is a link to {folder.readlink()}. Remove the link by itself, or name that folder.")
    roots = [Path.cwd().resolve(), RUNS.resolve()]
    inside = folder.resolve()
    if not any(inside.is_relative_to(root) and inside != root for root in roots):
        raise UsageError(f"{folder} is not inside of {roots[0]}: change to a folder above the run first.")
    if not is_run_folder(folder):
        raise UsageError(
            f"{folder} has a {CONFIG_FILE}, but nothing else of a run ({', '.join(sorted(RUN_FILES))}): it may be "
            "another program's. Nothing was removed."
        )
    if is_training(folder):
        raise UsageError(f"A process trains in {folder} now. Stop it first, or wait until it is done.")
    try:
        return _plan(folder)
    except OSError as error:
        raise ToolkitError(f"Cannot list {folder}: {error.strerror}.") from error


def _plan(folder: Path) -> Removal:
    own = WRITTEN | set(_saved_formats(folder))
    files: list[Path] = []
    kept: list[str] = []
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            path = Path(entry.path)
            if entry.name == TENSORBOARD_FOLDER and entry.is_dir(follow_symlinks=False):
                of_board = [file for file, is_own in _board_files(path) if is_own]
                files += of_board
                kept += [str(file.relative_to(folder)) for file, is_own in _board_files(path) if not is_own]
            elif not entry.is_dir(follow_symlinks=False) and (entry.name in own or _is_temporary(entry.name)):
                files.append(path)
            else:
                kept.append(entry.name)
    files.sort(key=lambda path: path.name in (CONFIG_FILE, LOCK_FILE))
    return Removal(folder, files, sum(map(_bytes, files)), kept)


def _saved_formats(folder: Path) -> Iterator[str]:
    """Yield the names of the files that the run's own --save wrote."""
    with contextlib.suppress(ToolkitError):  # A damaged config; its files are then kept.
        settings: Mapping[Any, Any] = read_config_file(folder / CONFIG_FILE)
        for name in settings.get("save") or ():
            with contextlib.suppress(ToolkitError):
                file = export_format(str(name)).file
                yield from (file, file + NOTE_ENDING)


def _board_files(folder: Path) -> Iterator[tuple[Path, bool]]:
    """Yield the files below TensorBoard's folder, and whether they are TensorBoard's; links are not followed."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _board_files(Path(entry.path))
            else:
                yield Path(entry.path), entry.name.startswith(BOARD_FILE)


def _is_temporary(name: str) -> bool:
    return name.startswith(".") and name.endswith(UNFINISHED)


def _bytes(path: Path) -> int:
    status = path.lstat()
    return status.st_size if stat.S_ISREG(status.st_mode) else 0


def remove_run(removal: Removal) -> None:
    """Remove the files of a run, and its folder if nothing else is in it.

    Raises:
        UsageError: A run has begun to train there.
        ToolkitError: A file cannot be removed.
    """
    try:
        with lock_folder(removal.folder):
            for path in removal.files:
                if path.name != LOCK_FILE:
                    path.unlink(missing_ok=True)
            _remove_empty(removal.folder / TENSORBOARD_FOLDER)
        (removal.folder / LOCK_FILE).unlink(missing_ok=True)
        if not removal.kept:
            with contextlib.suppress(OSError):  # Someone has just written there: theirs stays.
                removal.folder.rmdir()
    except OSError as error:
        raise ToolkitError(f"Cannot remove {error.filename or removal.folder}: {error.strerror}.") from error


def _remove_empty(folder: Path) -> None:
    """Remove a folder, and the folders below it, as far as they are empty."""
    if folder.is_symlink() or not folder.is_dir():
        return
    for path in folder.iterdir():
        _remove_empty(path)
    with contextlib.suppress(OSError):
        folder.rmdir()
