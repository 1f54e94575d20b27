"""The run folder: runs/<date>-<arch>-<data>[-n]/ and what is in it."""

import contextlib
import datetime
import re
import shlex
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

import filelock

from tl_toolkit.errors import ToolkitError, UsageError
from tl_toolkit.io.files import expand_path, is_file, is_folder, remove_temporaries, write_csv, write_text
from tl_toolkit.io.own_files import CONFIG_FILE, LOCK_FILE, MODEL_FILE
from tl_toolkit.text import named, names_flags

if TYPE_CHECKING:
    from tl_toolkit.data.quality.readability import ExcludedImage  # Imports torch, which takes seconds.

RUNS = Path("runs")
LAST_FILE = "last.safetensors"
BAD_IMAGES_FILE = "bad_images.csv"
CURVES_FILE = "curves.png"
TENSORBOARD_FOLDER = "tensorboard"
REPORT_FILE = "report.html"


def create_run_folder(out: str | None, arch: str, data: str) -> Path:
    """Create a folder: exactly `out`, or one under runs/ named after date, network and data.

    Raises:
        ToolkitError: The folder cannot be created.
    """
    try:
        if out is not None:
            folder = expand_path(out)
            folder.mkdir(parents=True)
            return folder
        RUNS.mkdir(exist_ok=True)
        base = f"{datetime.date.today():%Y-%m-%d}-{_safe_name(arch)}-{_safe_name(data)}"
        number = 1
        while True:
            folder = RUNS / (base if number == 1 else f"{base}-{number}")
            with contextlib.suppress(FileExistsError):
                folder.mkdir()
                return folder
            number += 1
    except OSError as error:
        raise ToolkitError(
            f"Cannot create the run folder {out or RUNS}: {error.strerror}. Choose another {named('out')}."
        ) from error


def check_new_folder(out: str | None) -> None:
    """Refuse a run folder that exists or cannot be written, before any work is done.

    Raises:
        UsageError: `out` exists, or its name is not valid UTF-8.
    """
    if out is None:
        return
    if "\\udc" in ascii(out):
        raise UsageError(
            f"The name of {named('out')}, {out!a}, is not valid UTF-8; safetensors cannot be written there."
        )
    if expand_path(out).exists():
        raise UsageError(f"The folder {out} exists; nothing is ever overwritten. Choose another {named('out')}.")


@contextlib.contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Within the block, no other process can train in a folder; the system removes the lock of a process that dies.

    Raises:
        UsageError: Another process trains there.
        ToolkitError: The folder cannot be written.
    """
    try:
        with filelock.FileLock(folder / LOCK_FILE, timeout=0):
            remove_temporaries(folder)
            yield
    except filelock.Timeout as error:
        raise UsageError(f"Another process is training in {folder}. Wait until it is done, or stop it.") from error


def locate_run(run: str | Path) -> Path:
    """Return the path that a run is named by: that of a folder, or of the folder under runs/ with this name.

    Nothing may be there.

    Raises:
        UsageError: The name is empty.
    """
    path = expand_path(run)
    named_run = RUNS / path
    return named_run if not is_file(path / CONFIG_FILE) and is_file(named_run / CONFIG_FILE) else path


def find_run(run: str | Path) -> Path:
    """Return the folder of a run, by its path or by its name under runs/.

    Raises:
        UsageError: There is no run in it.
    """
    folder = locate_run(run)
    if not is_file(folder / CONFIG_FILE):
        runs = [str(path.parent) for path in sorted(RUNS.glob(f"*/{CONFIG_FILE}"))] if is_folder(RUNS) else []
        near = get_close_matches(str(folder), runs, n=3, cutoff=0.3)
        hint = f" Did you mean {' or '.join(near)}?" if near else " Give a folder that `tl finetune` wrote."
        raise UsageError(f"{folder} is not a run folder: it has no {CONFIG_FILE}.{hint}")
    return folder


def newest_run(runs: Path = RUNS) -> Path:
    """Return the folder of the run under runs/ whose model was written last.

    Raises:
        UsageError: There is none.
    """
    models = list(runs.glob(f"*/{MODEL_FILE}")) if runs.is_dir() else []
    if not models:
        raise UsageError(
            f"There is no run in {runs.resolve()}. Train one with `tl finetune`, or say --model RUN or --model FILE."
        )
    return max(models, key=lambda path: path.stat().st_mtime).parent


def write_config(folder: Path, yaml_text: str, threads: int) -> Path:
    """Write the settings, with the command that repeats the run to the same bits."""
    path = folder / CONFIG_FILE
    command = f"tl finetune --config {CONFIG_FILE} --threads {threads}"
    write_text(
        path, f"# Run again with: {command}\n# With as many threads, a CPU like this gives the same bits.\n{yaml_text}"
    )
    return path


def write_bad_images(folder: Path, bad: "Sequence[ExcludedImage]") -> Path:
    """Write the images that were left out, with the reasons."""
    path = folder / BAD_IMAGES_FILE
    write_csv(path, ["split", "path", "reason"], ([image.split, image.path, image.reason] for image in bad))
    return path


def _safe_name(name: str) -> str:
    """Return a name without characters that are special in paths."""
    return re.sub(r"[^\w.-]+", "-", name).strip("-.") or "data"


def resume_command(folder: Path, **changes: object) -> str:
    """Return the command that resumes a run with some settings changed."""
    settings = [named(name, value) for name, value in changes.items()]
    if names_flags():
        return " ".join(["tl finetune --resume", shlex.quote(str(folder)), *settings])
    arguments = ", ".join([f'"{folder}"', *settings])
    return f"tl_toolkit.resume({arguments})"
