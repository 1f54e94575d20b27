"""The only place that prints: rows of a name and a value, headings, tables, commands, warnings and errors."""

import json
import logging
import os
import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from rich.console import Console, ConsoleDimensions
from rich.table import Table
from rich.text import Text

from tl_toolkit.text import printable

UNDECODABLE_IN_JSON = "backslashreplace"
"""Makes \\udcNN of a byte that is no UTF-8, which is valid in a JSON string."""

WORST_CLASSES = 5
"""Classes whose accuracy is told after training."""

NAME_WIDTH, GAP = 10, 2
"""Columns of a row's name, such as `last-stage`, and between columns: rows and epochs stand below each other."""

UNWRAPPED = 10_000
"""Columns where no terminal is: a line stays a line, so that it can be searched."""

READABLE, LONG_WORD, NARROWEST = 16, 24, 8
"""Widths of a table's column of text: where there is room it is no narrower than the first, nor than its longest word,
but a longer word than the second is a path, which is folded. It is never narrower than the third."""

BEST, COMMAND = "green", "cyan"


class Screen(Console):
    """A console that wraps lines in a terminal alone."""

    @property  # type: ignore[misc]  # Rich's can be set too, which nobody does.
    def size(self) -> ConsoleDimensions:
        """The terminal's, or what COLUMNS says."""
        if self.is_terminal or "COLUMNS" in os.environ:
            return super().size
        return ConsoleDimensions(UNWRAPPED, 25)


_out = Screen(highlight=False)
_err = Screen(stderr=True, highlight=False)


def status_console(to_stderr: bool) -> Console:
    """Where a command tells what it does: beside its result, or on stderr where stdout is for machines."""
    return _err if to_stderr else _out


def print_error(message: str) -> None:
    """One red line on stderr; more lines of the message follow it plainly."""
    first, *rest = _lines(message) or ["Failed without a reason."]
    _err.print(Text.assemble(("Error: ", "bold red"), (first, "red")), soft_wrap=not _err.is_terminal)
    for line in rest:
        _err.print(Text(line), soft_wrap=not _err.is_terminal)


def print_warning(message: str, console: Console = _err) -> None:
    """A yellow line."""
    shown = "\n".join(_lines(message))
    console.print(Text.assemble(("Warning: ", "bold yellow"), shown), soft_wrap=not console.is_terminal)


class LogHandler(logging.Handler):
    """Tells what is logged where no command listens, such as a warning before a file is trusted."""

    def emit(self, record: logging.LogRecord) -> None:
        """A yellow line."""
        print_warning(record.getMessage())


def print_row(console: Console, name: str, value: str, why: str = "", style: str = "") -> None:
    """A name and a value, with the reason dimmed behind it; what does not fit is wrapped below the value."""
    dimmed = f"{'  ' if value else ''}{printable(why)}" if why else ""
    text = Text.assemble((printable(value), style), (dimmed, "dim"))
    indent = max(NAME_WIDTH, len(name)) + GAP
    for number, line in enumerate(text.wrap(console, max(console.width - indent, NARROWEST), overflow="fold")):
        line.rstrip()
        start = name.ljust(indent) if number == 0 else " " * indent
        console.print(Text.assemble((start, "bold"), line), soft_wrap=True)


def print_rows(rows: Iterable[tuple[str, str]]) -> None:
    """Names and values on stdout."""
    for name, value in rows:
        print_row(_out, name, value)


def print_accuracy(value: str) -> None:
    """The one figure that all was done for."""
    print_row(_out, "accuracy", value, style=f"bold {BEST}")


def print_line(text: str) -> None:
    """A sentence on stdout, wrapped between words."""
    _out.print(Text(printable(text)))


def print_blank(console: Console | None = None) -> None:
    """An empty line between two parts, by default on stdout."""
    (console or _out).print()


def print_commands(commands: Iterable[Sequence[str]]) -> None:
    """What to do next, each command on a line of its own that can be pasted into a shell."""
    for number, words in enumerate(commands):
        start = ("" if number else "next").ljust(NAME_WIDTH + GAP)
        _out.print(Text.assemble((start, "bold"), (printable(shlex.join(words)), COMMAND)), soft_wrap=True)


def print_result(text: str) -> None:
    """A line on stdout as it is, never wrapped or styled."""
    _write(text + "\n")


def print_json(value: Any) -> None:
    """One JSON value on stdout."""
    _write(json.dumps(value, indent=2, ensure_ascii=False) + "\n", UNDECODABLE_IN_JSON)


def write_lines(lines: Iterable[str], undecodable: str) -> None:
    """Lines on stdout, each as soon as it is there."""
    for line in lines:
        _write(line, undecodable)
        sys.stdout.flush()


def print_table(
    columns: Sequence[str],
    rows: Iterable[Sequence[str]],
    title: str = "",
    numbers: int = 0,
    console: Console | None = None,
) -> None:
    """A table on stdout, or where it does not fit a block for each of its rows.

    Args:
        columns: Headings.
        rows: Cells.
        title: A line above it.
        numbers: How many of the last columns are set to the right, and never wrapped.
        console: Where to print instead.
    """
    console = console or _out
    if title:
        console.print(Text("\n".join(_lines(title)), "bold"))
    cells = [[printable(cell) for cell in row] for row in rows]
    first_number = len(columns) - numbers
    widths = _column_widths([list(columns), *cells], first_number, console.width)
    if sum(widths) + GAP * (len(widths) - 1) > console.width:
        _print_blocks(console, columns, cells)
        return
    table = Table(box=None, padding=(0, GAP, 0, 0), pad_edge=False)
    for index, (column, width) in enumerate(zip(columns, widths, strict=True)):
        justify: Literal["left", "right"] = "left" if index < first_number else "right"
        table.add_column(column, justify=justify, overflow="fold", header_style="dim", width=width)
    for row in cells:
        table.add_row(*map(Text, row))  # As text: in markup, :cat: is an animal.
    console.print(table)


def print_bad_images(images: Sequence[tuple[str, str]], most: int | None = None) -> None:
    """On stderr, images that cannot be read, each with the reason in a column of its own.

    Args:
        images: Paths and reasons.
        most: How many to list; by default all.
    """
    if not images:
        return
    listed = list(images[:most])
    more = f", such as the first {len(listed)}" if len(listed) < len(images) else ""
    print_warning(f"{len(images):,} image{'' if len(images) == 1 else 's'} cannot be read{more}:")
    print_table(["image", "error"], listed, console=_err)


def _print_blocks(console: Console, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A row of a table after the other, each cell on a line of its own behind its heading."""
    for number, row in enumerate(rows):
        if number:
            print_blank(console)
        for column, cell in zip(columns, row, strict=True):
            if cell:
                print_row(console, column, cell)


def print_worst_classes(class_accuracy: Mapping[str, float], every: bool = False) -> None:
    """The accuracy of the classes that the model takes for others most often, or of every class."""
    if not every and all(accuracy == 1.0 for accuracy in class_accuracy.values()):
        return
    names = list(class_accuracy)
    heading = "class"
    if not every:
        names = sorted(names, key=lambda name: class_accuracy[name])[:WORST_CLASSES]
    if len(names) < len(class_accuracy):
        names = [name for name in names if class_accuracy[name] < 1.0]
        heading = f"worst of {len(class_accuracy)} classes"
    print_blank()
    print_table([heading, "accuracy"], [[name, percent(class_accuracy[name])] for name in names], numbers=1)


def print_files(files: Iterable[tuple[Path, str]]) -> None:
    """Files with what they are."""
    print_table(["file", "content"], [[path.name, what] for path, what in files])


def percent(share: float | None) -> str:
    """0.9833 as 98.3 %; nothing for None."""
    return "" if share is None else f"{share:.1%}".replace("%", " %")


def _column_widths(rows: Sequence[Sequence[str]], first_number: int, room: int) -> list[int]:
    """Widths of a table's columns that fit into so much room: wide ones are wrapped, between words if they can be."""
    texts = [[Text(row[index]) for row in rows] for index in range(len(rows[0]))]
    widths = [max(text.cell_len for text in column) for column in texts]
    words = [max(len(word) for text in column for word in ["", *text.plain.split()]) for column in texts]
    readable = [max(READABLE, min(word, LONG_WORD)) for word in words]
    for least in (readable, [NARROWEST] * len(words)):
        floors = [min(width, low) for width, low in zip(widths, least, strict=True)]
        floors[first_number:] = widths[first_number:]
        while sum(widths) + GAP * (len(widths) - 1) > room and widths != floors:
            widest = max(range(len(widths)), key=lambda index: (widths[index] > floors[index], widths[index]))
            widths[widest] -= 1
    return widths


def _lines(message: str) -> list[str]:
    """The lines of a message, with nothing in them that a terminal would obey."""
    return [printable(line) for line in message.split("\n")] if message else []


def _write(text: str, undecodable: str = "surrogateescape") -> None:
    """Text on stdout; what of a file name is no UTF-8 goes out as its own bytes, or as an escape in JSON.

    A program gets names as they are. A terminal would obey what is in them.
    """
    if sys.stdout.isatty():
        text = "\n".join(_lines(text.replace("\r\n", "\n")))
    sys.stdout.flush()  # What was printed before comes before.
    sys.stdout.buffer.write(text.encode("utf-8", undecodable))
    sys.stdout.buffer.flush()
