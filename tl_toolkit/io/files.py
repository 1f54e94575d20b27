"""Writing files so that each appears whole or not at all."""

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
    """A path as a user wrote it, with ~ filled in where that user exists.

    Raises:
        UsageError: It is empty, which would be the current folder.
    """
    if not str(text).strip():
        raise UsageError("A path is empty, perhaps a variable that is not set. Say which file or folder is meant.")
    try:
        return Path(text).expanduser()
    except (RuntimeError, ValueError):
        return Path(text)


def display_path(path: str | Path, tilde: bool = True) -> str:
    """A path to show: from the working directory where that is shorter, else with ~ for the user's own folder.

    Args:
        path: Any path; a `..` behind a name stays, as the name may be a link to elsewhere.
        tilde: Whether ~ may stand in it; within the quotes of a command no shell fills it in.
    """
    given = Path(path)
    if ".." in given.parts[1:]:
        return str(given)
    try:
        full = Path(os.path.abspath(given))  # noqa: PTH100  # Path.absolute keeps a leading `..`.
        forms = [os.path.relpath(full), str(full)]
    except (OSError, ValueError):  # The working directory was removed; on Windows, another drive.
        return str(given)
    with contextlib.suppress(ValueError, RuntimeError):
        if tilde:
            forms.insert(1, str(Path("~") / full.relative_to(Path.home())))
    return min(forms, key=len)


def display_data(spec: str) -> str:
    """What --data takes, to show: the path of a folder short, other names as they are."""
    return spec if ":" in spec else display_path(spec)


def is_folder(path: Path) -> bool:
    """Whether a path is a folder; False for what cannot be a path at all, such as a name that is too long."""
    try:
        with reading(path):
            return path.is_dir()
    except (OSError, ValueError):
        return False


def is_file(path: Path) -> bool:
    """Whether a path is a file, in the same way."""
    try:
        with reading(path):
            return path.is_file()
    except (OSError, ValueError):
        return False


def check_is_new(path: Path) -> None:
    """Refuses to write where something is.

    Raises:
        UsageError: The path exists.
    """
    if path.exists():
        raise UsageError(f"{path} exists; nothing is ever overwritten. Choose another {named('out')}.")


UNFINISHED = ".tmp"
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""A full disk, a used-up quota, and a file larger than a process may write."""

UNITS = {"": 1, "B": 1} | {
    f"{prefix}{unit}": base**power
    for power, prefix in enumerate("KMGT", start=1)
    for unit, base in (("B", 1000), ("iB", 1024))
}


def parse_size(text: str) -> int | None:
    """Bytes of a size such as 0, 500MB or 20GiB; None for what is no size."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([A-Za-z]*)", text.strip())
    units = {unit.lower(): factor for unit, factor in UNITS.items()}
    if not found or found[2].lower() not in units:
        return None
    size = float(found[1]) * units[found[2].lower()]
    return int(size) if size < math.inf else None


def format_size(count: float) -> str:
    """Bytes in words: 1536 is 1.5 KiB."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024 or unit == "GiB":
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    raise AssertionError("the loop ends with GiB")


def format_count(count: float) -> str:
    """Parameters or multiply-adds in words: 11,689,512 is 11.7 M, 1,814,073,344 is 1.81 G."""
    for prefix, factor, decimals in (("G", 1e9, 2), ("M", 1e6, 1), ("k", 1e3, 1)):
        if count >= factor:
            return f"{count / factor:,.{decimals}f} {prefix}"
    return f"{count:,.0f}"


def format_seconds(seconds: float) -> str:
    """A time in words: 8.25 is 8 s, 200 is 3 min 20 s."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"


@contextlib.contextmanager
def atomic_file(path: Path, size: int = 0) -> Iterator[Path]:
    """Gives a temporary path beside `path`; what was written there becomes `path` in one step.

    The file and its folder are synced before and after the rename, so that a power cut leaves the old
    content or the new one. When the block fails, nothing remains.

    Args:
        path: The file to write or replace.
        size: Bytes that it will take, for the message where there is no room.

    Raises:
        ToolkitError: The folder cannot be written, or the disk is full.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}{UNFINISHED}")
    try:
        temporary.touch()
        mode = temporary.stat().st_mode
        yield temporary
        temporary.chmod(mode)  # As the user's umask has it: safetensors lets no one else read what it writes.
        _sync(temporary)
        temporary.replace(path)
        _sync(path.parent)
    except OSError as error:
        raise ToolkitError(f"Cannot write {path}: {_reason(error, path, size)}.") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str, undecodable: str = "surrogateescape") -> None:
    """Writes or replaces a UTF-8 text file atomically.

    Args:
        path: The file.
        text: Its content.
        undecodable: What becomes of file names' bytes that are no UTF-8: an error handler of `str.encode`.
    """
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors=undecodable, newline="")


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Writes or replaces a CSV file atomically."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(header)
    writer.writerows(rows)
    write_text(path, text.getvalue())


def _reason(error: OSError, path: Path, size: int) -> str:
    """Why a file could not be written; where there is no room, how much it takes."""
    text = os.strerror(error.errno) if error.errno else str(error)
    if error.errno not in NO_ROOM or not size:
        return text
    free = shutil.disk_usage(path.parent).free
    return f"{text}; it takes {format_size(size)}, and {format_size(free)} are free"


def remove_temporaries(folder: Path) -> None:
    """Removes what killed processes left of files that they were writing in a folder."""
    for path in folder.glob(f".*{UNFINISHED}"):
        with contextlib.suppress(OSError):
            path.unlink()


def _sync(path: Path) -> None:
    """Flushes a file or a folder to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
