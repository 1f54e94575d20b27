"""What tl itself writes: the names by which a run's folder, the cache's and a figure are known, wherever they lie.

A folder of images may hold them: runs/ is made where a run is begun. They are never images of a class.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from tl_toolkit.errors import UsageError
from tl_toolkit.io.files import expand_path, is_file, is_folder

if TYPE_CHECKING:
    pass  # With it comes torch, which takes seconds.
import os
import stat

MODEL_FILE = "model.safetensors"
CHECKPOINT_FILE = "checkpoint.safetensors"
CONFIG_FILE = "config.yaml"
METRICS_FILE = "metrics.jsonl"
LOCK_FILE = ".lock"
ENTRY_FILE = "entry.json"

RUN_FILES = {MODEL_FILE, CHECKPOINT_FILE, METRICS_FILE, LOCK_FILE}
"""Beside its settings a run has one of them from the beginning on."""

SHARD_ENDING = ".safetensors"

SOFTWARE = "tl_toolkit"
FIGURE_MARK = b"Software\0" + SOFTWARE.encode()
"""In the head of a figure as PNG: its `Software`, a text that the format foresees."""

HEAD_BYTES = 256
MIN_FIGURE_BYTES = 4096
"""No figure is smaller: a small PNG, as data sets have them by the thousand, need not be opened."""


def is_own_folder(folder: Path) -> bool:
    """Whether a folder is a run's or the cache's, or has nothing but such folders and figures in it.

    Raises:
        OSError: It cannot be listed.
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
    """Whether a folder is a run's."""
    return (folder / CONFIG_FILE).is_file() and any((folder / name).exists() for name in RUN_FILES)


def is_own_figure(path: str) -> bool:
    """Whether a file is a figure that tl drew as PNG.

    Raises:
        OSError: It cannot be read.
    """
    if not path.lower().endswith(".png"):
        return False
    status = os.stat(path)  # noqa: PTH116  # quicker, and there may be very many
    if not stat.S_ISREG(status.st_mode) or status.st_size < MIN_FIGURE_BYTES:
        return False
    with open(path, "rb") as file:  # noqa: PTH123  # quicker
        return FIGURE_MARK in file.read(HEAD_BYTES)


GIVE_A_MODEL = "Give a run folder, or a .safetensors file or a full model that tl wrote."


def find_model(path: str | Path) -> Path:
    """A path at which a model may be: a folder, or a file of any kind.

    Raises:
        UsageError: Nothing is there.
    """
    place = expand_path(path)
    if not is_folder(place) and not is_file(place):
        raise UsageError(f"There is no model {str(path)!r}. {GIVE_A_MODEL}")
    return place
