"""How messages name what a user can say: as flags in the terminal, as keyword arguments in Python.

A message is made where something is found, which may be far below who shows it: it names a setting through `named`.
"""

import contextlib
import shlex
from collections.abc import Iterator
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
