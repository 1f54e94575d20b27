"""Files that tl writes: names and marks by which run folders, the cache and figures are recognised.

A folder of images may hold them, because runs start in the working directory. They are never images of a class.
"""

import os
import stat
from pathlib import Path

from tl_toolkit.errors import UsageError
from tl_toolkit.io.files import expand_path, is_file, is_folder

MODEL_FILE = "model.safetensors"
CHECKPOINT_FILE = "checkpoint.safetensors"
CONFIG_FILE = "config.yaml"
METRICS_FILE = "metrics.jsonl"
LOCK_FILE = ".lock"
ENTRY_FILE = "entry.json"
IMPORT_FILE = "import.json"
"""Of a run folder whose model was trained elsewhere."""

RUN_FILES = {MODEL_FILE, CHECKPOINT_FILE, METRICS_FILE, LOCK_FILE}
"""A run folder has its settings and, from the start, one of these."""

SHARD_ENDING = ".safetensors"

ONNX_METADATA = "tl_toolkit"
"""Key of an ONNX file's metadata that holds the header of the model's own file, as JSON."""

ONNX_PREPROCESSING = "tl_toolkit.preprocessing"
"""Key whose value says whether the graph resizes, crops and normalizes: "inside" or "outside"."""

PROGRAM_METADATA = "tl_toolkit.json"
"""Extra file of a torch.export archive (.pt2) that holds the header of the model's own file, as JSON."""

SOFTWARE = "tl_toolkit"
FIGURE_MARK = b"Software\0" + SOFTWARE.encode()
"""Begins the `Software` text of a figure as PNG."""

HEAD_BYTES = 256
MIN_FIGURE_BYTES = 4096
"""No figure is smaller, so that small PNGs, which datasets have by the thousand, need not be opened."""


def is_own_folder(folder: Path) -> bool:
    """Return whether a folder is of a run or the cache, or holds only such folders and figures.

    Raises:
        OSError: The folder cannot be listed.
    """
    if is_run_folder(folder):
        return True
    of_cache = (folder / ENTRY_FILE).is_file()
    found = False
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            found = True
            if not _is_own(entry, of_cache):  # Mostly the first one.
                return False
    return found


def _is_own(entry: os.DirEntry[str], in_cache: bool) -> bool:
    if entry.is_symlink():
        return False
    if entry.is_dir():
        return is_own_folder(Path(entry.path))
    return (in_cache and entry.name.endswith((ENTRY_FILE, SHARD_ENDING))) or is_own_figure(entry.path)


def is_run_folder(folder: Path) -> bool:
    """Return whether a folder is a run folder."""
    return (folder / CONFIG_FILE).is_file() and any((folder / name).exists() for name in RUN_FILES)


def is_own_figure(path: str) -> bool:
    """Return whether a file is a figure that tl drew as PNG.

    Raises:
        OSError: The file cannot be read.
    """
    if not path.lower().endswith(".png"):
        return False
    status = os.stat(path)  # noqa: PTH116  # quicker, and there may be very many
    if not stat.S_ISREG(status.st_mode) or status.st_size < MIN_FIGURE_BYTES:
        return False
    with open(path, "rb") as file:  # noqa: PTH123  # quicker
        return FIGURE_MARK in file.read(HEAD_BYTES)


GIVE_A_MODEL = "Give a run folder, or a model file that tl wrote."


def find_model(path: str | Path) -> Path:
    """Return the path of a model: an existing folder or file.

    Raises:
        UsageError: The path does not exist.
    """
    expanded = expand_path(path)
    if not is_folder(expanded) and not is_file(expanded):
        raise UsageError(f"There is no model {str(path)!r}. {GIVE_A_MODEL}")
    return expanded
