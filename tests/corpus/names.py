"""Names that a file system allows."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.corpus import Bad, Good, Kind, picture

NAMES = (
    "with space.png",
    " space at both ends.png ",
    "new\nline.png",
    "tab\tand return\r.png",
    "escape\x1b[31m red \x1b]0;title\x07.png",
    "c1 escape\x9b31m.png",
    "right to left \u202egnp.exe.png",
    "emoji 🐱👩‍👩‍👧.png",
    "emoji code :cat:.png",
    "[bold red]markup.png",
    "glob [a-z]*?.png",
    "-dash.png",
    "--out.png",
    "quote \"'`$(x);&|<>.png",
    "back\\slash.png",
    "comma,semicolon;.png",
    "Error: no error.png",
    "ünï çødé 日本.png",
    f"{'long' * 62}.png",
    os.fsdecode(b"not utf-8 \xff\xfe.png"),
    "~.png",
    "%s%n{0}.png",
)
NON_UTF8 = "this system has no names that are not UTF-8" if sys.platform in ("darwin", "win32") else ""


def named_kinds() -> Iterator[Kind]:
    """A good file of each name, and a bad one of the worst."""
    for name in NAMES:
        yield Kind(name, _save, Good(), NON_UTF8)
    yield Kind("bad new\nline \x1b[2J\x9b31m.png", Path.touch, Bad("the file is empty"), NON_UTF8)
    yield Kind(os.fsdecode(b"bad not utf-8 \xff.png"), Path.touch, Bad("the file is empty"), NON_UTF8)


def _save(path: Path) -> None:
    picture().save(path, "PNG")
