"""How messages name what a user can say: as flags in the terminal, as keyword arguments in Python.

A message is made where something is found, which may be far below who shows it: it names a setting through `named`.
"""

import contextlib
import re
import reprlib
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

_in_terminal = False
"""Of the whole process: messages are also made in threads."""


@contextlib.contextmanager
def naming_flags() -> Iterator[None]:
    """Within the block a terminal asks: messages name flags."""
    global _in_terminal
    before, _in_terminal = _in_terminal, True
    try:
        yield
    finally:
        _in_terminal = before


def names_flags() -> bool:
    """Whether a terminal asks."""
    return _in_terminal


def flag_of(name: str) -> str:
    """The flag of a setting: `--batch-size` for `batch_size`, `--lr` for `learning_rate`."""
    return f"--{name.replace('learning_rate', 'lr').replace('_', '-')}"


def named(name: str, value: object = None) -> str:
    """A setting as whoever asked would say it, perhaps with a value.

    Args:
        name: As a field of the config or an argument in Python is called.
        value: What to set it to. A word in capitals stands for a value, such as FILE.
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
"""Control characters, which a terminal obeys; those that turn the direction of writing; bytes that are no text."""


def printable(text: str) -> str:
    """Text of which a terminal shows every character and obeys none: file names may hold anything."""
    return UNPRINTABLE.sub(_escaped, text)


def _escaped(found: re.Match[str]) -> str:
    code = ord(found[0])
    undecodable = 0xDC80 <= code <= 0xDCFF  # A byte of a file name that is no UTF-8 (PEP 383).
    return f"\\x{code - 0xDC00:02x}" if undecodable else ascii(found[0])[1:-1]


def join_names(names: Sequence[str], most: int = 5) -> str:
    """The first of some names for a message, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def format_value(value: object) -> str:
    """A value for a message, as Python writes it, cut where it is long."""
    short = reprlib.Repr()
    short.maxstring = short.maxlong = short.maxother = MAX_SHOWN
    short.maxlevel = 3
    try:
        return short.repr(value)
    except ValueError:  # Python writes no numbers of so many digits.
        return "a number of thousands of digits"


def bullets(lines: Sequence[str], most: int = 5) -> str:
    """The first of some lines below a message, and how many more there are."""
    first = [f"  {line}" for line in lines[:most]]
    return "\n".join([*first, f"  ... and {len(lines) - most:,} more"] if len(lines) > most else first)
