"""Text of messages, which name settings as flags in the terminal and as keyword arguments in Python."""

import contextlib
import re
import reprlib
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

_in_terminal = False
"""Global to the process, because threads make messages too."""


@contextlib.contextmanager
def naming_flags(wanted: bool = True) -> Iterator[None]:
    """Make messages name flags within the block, or the names in Python."""
    global _in_terminal
    before, _in_terminal = _in_terminal, wanted
    try:
        yield
    finally:
        _in_terminal = before


def names_flags() -> bool:
    """Return whether messages name flags."""
    return _in_terminal


def flag_of(name: str) -> str:
    """Return the flag of a setting: `--batch-size` for `batch_size`, `--lr` for `learning_rate`."""
    return f"--{name.replace('learning_rate', 'lr').replace('_', '-')}"


def named(name: str, value: object = None) -> str:
    """Return a config field or Python argument as the user would write it.

    Args:
        name: The name in Python.
        value: Its value, or a placeholder in capitals such as FILE.
    """
    if not _in_terminal:
        text = f'"{value}"' if isinstance(value, str | Path) and not str(value).isupper() else value
        return name if value is None else f"{name}={text}"
    if value is None or value is True:
        return flag_of(name)
    return f"--no-{flag_of(name)[2:]}" if value is False else f"{flag_of(name)} {shlex.quote(str(value))}"


MAX_SHOWN = 200
"""Characters of a value that a message shows."""


UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters, which a terminal obeys; bidirectional controls; undecodable bytes."""


def printable(text: str) -> str:
    """Escape the characters that a terminal would obey instead of show; file names may hold any."""
    return UNPRINTABLE.sub(_escaped, text)


def _escaped(found: re.Match[str]) -> str:
    code = ord(found[0])
    undecodable = 0xDC80 <= code <= 0xDCFF  # A byte of a file name that is not UTF-8 (PEP 383).
    return f"\\x{code - 0xDC00:02x}" if undecodable else ascii(found[0])[1:-1]


def join_names(names: Sequence[str], most: int = 5) -> str:
    """Return the first names for a message, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def format_value(value: object) -> str:
    """Return the repr of a value for a message, truncated if long."""
    short = reprlib.Repr()
    short.maxstring = short.maxlong = short.maxother = MAX_SHOWN
    short.maxlevel = 3
    try:
        return short.repr(value)
    except ValueError:  # Python does not print integers of thousands of digits.
        return "a number of thousands of digits"


def plural(count: int, noun: str) -> str:
    """Return a count with its noun, such as "1 image" or "2,000 images"."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def bullets(lines: Sequence[str], most: int = 5) -> str:
    """Return the first lines below a message, and how many more there are."""
    first = [f"  {line}" for line in lines[:most]]
    return "\n".join([*first, f"  ... and {len(lines) - most:,} more"] if len(lines) > most else first)
