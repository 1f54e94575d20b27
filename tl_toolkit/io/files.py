"""Paths, sizes in words, and atomic writes."""

import contextlib
import csv
import errno
import io
import math
import os
import re
import secrets
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from tl_toolkit.errors import ToolkitError, UsageError
from tl_toolkit.io.reader_threads import reading
from tl_toolkit.text import named


def expand_path(text: str | Path) -> Path:
    """Return the user's path with ~ expanded, if that user exists.

    Raises:
        UsageError: The path is empty, which would mean the current folder.
    """
    if not str(text).strip():
        raise UsageError("A path is empty, perhaps a variable that is not set. Say which file or folder is meant.")
    try:
        return Path(text).expanduser()
    except (RuntimeError, ValueError):
        return Path(text)


def display_path(path: str | Path, tilde: bool = True) -> str:
    """Return the shortest form of a path to show: relative to the working directory, with ~, or absolute.

    Args:
        path: Any path; a `..` after a name stays, because the name may be a link.
        tilde: Whether to use ~, which no shell expands within the quotes of a command.
    """
    path = Path(path)
    if ".." in path.parts[1:]:
        return str(path)
    try:
        full = Path(os.path.abspath(path))  # noqa: PTH100  # Path.absolute keeps a leading `..`.
        forms = [os.path.relpath(full), str(full)]
    except (OSError, ValueError):  # The working directory was removed; on Windows, another drive.
        return str(path)
    with contextlib.suppress(ValueError, RuntimeError):
        if tilde:
            forms.insert(1, str(Path("~") / full.relative_to(Path.home())))
    return min(forms, key=len)


def display_data(spec: str) -> str:
    """Return a value of --data to show: a folder by `display_path`, other names unchanged."""
    return spec if ":" in spec else display_path(spec)


def is_folder(path: Path) -> bool:
    """Return whether a path is a folder; False for an invalid path, such as a name that is too long."""
    try:
        with reading(path):
            return path.is_dir()
    except (OSError, ValueError):
        return False


def is_file(path: Path) -> bool:
    """Return whether a path is a file; False for an invalid path."""
    try:
        with reading(path):
            return path.is_file()
    except (OSError, ValueError):
        return False


def check_is_new(path: Path, setting: str = "out") -> None:
    """Refuse to overwrite a path.

    Args:
        path: A file or folder to write.
        setting: What names it, for the message.

    Raises:
        UsageError: The path exists.
    """
    if path.exists():
        raise UsageError(f"{path} exists; nothing is ever overwritten. Choose another {named(setting)}.")


def check_new_file(path: Path, setting: str = "out", *, forced: bool | None = None) -> None:
    """Refuse to overwrite a file, and one in a folder that does not exist.

    Args:
        path: The file to write.
        setting: What names it, for the message.
        forced: Whether it may be replaced, where the user can say so.

    Raises:
        UsageError: The file exists, or its folder does not.
    """
    if not path.absolute().parent.is_dir():
        raise UsageError(
            f"There is no folder {path.parent} for {path.name}. Make it, or choose another {named(setting)}."
        )
    if forced is None:
        check_is_new(path, setting)
    elif path.exists() and not forced:
        raise UsageError(f"{path} exists. Choose another {named(setting)}, or replace it by {named('force', True)}.")


UNFINISHED = ".tmp"
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""A full disk, a used-up quota, and a file beyond the size limit of the process."""

UNITS = {"": 1, "B": 1} | {
    f"{prefix}{unit}": base**power
    for power, prefix in enumerate("KMGT", start=1)
    for unit, base in (("B", 1000), ("iB", 1024))
}


def parse_size(text: str) -> int | None:
    """Return the bytes of a size such as 0, 500MB or 20GiB; None if the text is not a size."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([A-Za-z]*)", text.strip())
    units = {unit.lower(): factor for unit, factor in UNITS.items()}
    if not found or found[2].lower() not in units:
        return None
    size = float(found[1]) * units[found[2].lower()]
    return int(size) if size < math.inf else None


def format_size(count: float) -> str:
    """Format bytes: 1536 is 1.5 KiB."""
    power = 0
    while count >= 1024 and power < 3:
        count, power = count / 1024, power + 1
    return f"{count:.{min(power, 1)}f} {('B', 'KiB', 'MiB', 'GiB')[power]}"


def format_count(count: float) -> str:
    """Format parameters or multiply-adds: 11,689,512 is 11.7 M, 1,814,073,344 is 1.81 G."""
    for prefix, factor, decimals in (("G", 1e9, 2), ("M", 1e6, 1), ("k", 1e3, 1)):
        if count >= factor:
            return f"{count / factor:,.{decimals}f} {prefix}"
    return f"{count:,.0f}"


def format_seconds(seconds: float) -> str:
    """Format a duration: 8.25 is 8 s, 200 is 3 min 20 s."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"


@contextlib.contextmanager
def atomic_file(path: Path, size: int = 0) -> Iterator[Path]:
    """Yield a temporary path that replaces `path` in one step when the block succeeds, else is removed.

    The file and its folder are synced around the rename, so that a power cut leaves either the old content or the new.

    Args:
        path: The file to write or replace.
        size: Its size in bytes, for the message if the disk is full.

    Raises:
        ToolkitError: The folder cannot be written, or the disk is full.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}{UNFINISHED}")
    try:
        temporary.touch()
        mode = temporary.stat().st_mode
        yield temporary
        temporary.chmod(mode)  # By the user's umask: safetensors makes files that no one else may read.
        sync_to_disk(temporary)
        temporary.replace(path)
        sync_to_disk(path.parent)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        if size and error.errno in NO_ROOM:
            free = shutil.disk_usage(path.parent).free
            reason += f"; it takes {format_size(size)}, and {format_size(free)} are free"
        raise ToolkitError(f"Cannot write {path}: {reason}.") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str, undecodable: str = "surrogateescape") -> None:
    """Write or replace a UTF-8 text file atomically.

    Args:
        path: The file.
        text: Its content.
        undecodable: Error handler of `str.encode` for the bytes of file names that are not UTF-8.
    """
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors=undecodable, newline="")


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write or replace a CSV file atomically."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(header)
    writer.writerows(rows)
    write_text(path, text.getvalue())


def remove_temporaries(folder: Path) -> None:
    """Remove the temporary files that killed processes left in a folder."""
    for path in folder.glob(f".*{UNFINISHED}"):
        with contextlib.suppress(OSError):
            path.unlink()


def sync_to_disk(path: Path) -> None:
    """Flush a file or a folder to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
