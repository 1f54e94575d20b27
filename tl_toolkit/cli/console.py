"""The only module that prints: rows of a name and a value, tables, commands, warnings and errors."""

import json
import logging
import math
import os
import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from rich.console import Console, ConsoleDimensions
from rich.table import Table
from rich.text import Text

from tl_toolkit.text import plural, printable

UNDECODABLE_IN_JSON = "backslashreplace"
"""Writes a byte that is not UTF-8 as \\udcNN, which is valid in a JSON string."""

WORST_CLASSES = 5
"""Classes whose accuracy is shown after training."""

NAME_WIDTH, GAP = 10, 2
"""Width of a row's name, such as `last-stage`, and of the gap between columns: rows and epochs line up."""

UNWRAPPED = 10_000
"""Columns outside a terminal: a line stays one line, so that it can be searched."""

WIDE = 3
"""Percentage points of an interval that needs no decimals."""

READABLE, LONG_WORD, NARROWEST = 16, 24, 8
"""Minimum widths of a table's text column: READABLE where there is room, and its longest word up to LONG_WORD (a longer
one is a path, which is folded); else NARROWEST."""

BEST, COMMAND = "green", "cyan"


class Screen(Console):
    """A console that wraps lines only in a terminal."""

    @property  # type: ignore[misc]  # Rich's property has a setter, which nobody uses.
    def size(self) -> ConsoleDimensions:
        """The size of the terminal, or what COLUMNS says."""
        if self.is_terminal or "COLUMNS" in os.environ:
            return super().size
        return ConsoleDimensions(UNWRAPPED, 25)


_out = Screen(highlight=False)
_err = Screen(stderr=True, highlight=False)


def status_console(to_stderr: bool) -> Console:
    """Return the console for a command's progress: stderr where stdout is for machines."""
    return _err if to_stderr else _out


def print_error(message: str) -> None:
    """Print a red line on stderr; further lines of the message follow without color."""
    first, *rest = _lines(message) or ["Failed without a reason."]
    _err.print(Text.assemble(("Error: ", "bold red"), (first, "red")), soft_wrap=not _err.is_terminal)
    for line in rest:
        _err.print(Text(line), soft_wrap=not _err.is_terminal)


def print_warning(message: str, console: Console = _err) -> None:
    """Print a yellow line."""
    shown = "\n".join(_lines(message))
    console.print(Text.assemble(("Warning: ", "bold yellow"), shown), soft_wrap=not console.is_terminal)


class LogHandler(logging.Handler):
    """Prints what the package logs, such as the warning before a file is trusted."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print a yellow line."""
        print_warning(record.getMessage())


def print_row(console: Console, name: str, value: str, why: str = "", style: str = "") -> None:
    """Print a name and a value, with the reason dimmed after it; long rows wrap below the value."""
    dimmed = f"{'  ' if value else ''}{printable(why)}" if why else ""
    text = Text.assemble((printable(value), style), (dimmed, "dim"))
    indent = max(NAME_WIDTH, len(name)) + GAP
    for number, line in enumerate(text.wrap(console, max(console.width - indent, NARROWEST), overflow="fold")):
        line.rstrip()
        start = name.ljust(indent) if number == 0 else " " * indent
        console.print(Text.assemble((start, "bold"), line), soft_wrap=True)


def print_rows(rows: Iterable[tuple[str, str]]) -> None:
    """Print names and values on stdout."""
    for name, value in rows:
        print_row(_out, name, value)


def print_accuracy(value: str, name: str = "accuracy") -> None:
    """Print the accuracy on stdout, or the figure that stands in its place, highlighted."""
    print_row(_out, name, value, style=f"bold {BEST}")


def print_line(text: str) -> None:
    """Print a sentence on stdout, wrapped between words."""
    _out.print(Text(printable(text)))


def print_blank(console: Console | None = None) -> None:
    """Print an empty line, by default on stdout."""
    (console or _out).print()


def print_commands(commands: Iterable[Sequence[str]]) -> None:
    """Print commands to run next, each on a line that can be pasted into a shell."""
    for number, words in enumerate(commands):
        start = ("" if number else "next").ljust(NAME_WIDTH + GAP)
        _out.print(Text.assemble((start, "bold"), (printable(shlex.join(words)), COMMAND)), soft_wrap=True)


def print_result(text: str) -> None:
    """Print a line on stdout as it is, never wrapped or styled."""
    _write(text + "\n")


def print_json(value: Any) -> None:
    """Print a JSON value on stdout."""
    _write(json.dumps(value, indent=2, ensure_ascii=False) + "\n", UNDECODABLE_IN_JSON)


def write_lines(lines: Iterable[str], undecodable: str) -> None:
    """Write lines to stdout, each as soon as it is available."""
    for line in lines:
        _write(line, undecodable)


def print_table(
    columns: Sequence[str],
    rows: Iterable[Sequence[str]],
    title: str = "",
    numbers: int = 0,
    console: Console | None = None,
) -> None:
    """Print a table, or one block of lines per row where the table is too wide.

    Args:
        columns: Headings.
        rows: Cells.
        title: A line above the table.
        numbers: How many of the last columns are aligned to the right and never wrapped.
        console: Where to print, by default stdout.
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
        table.add_row(*map(Text, row))  # As Text: Rich's markup turns :cat: into an emoji.
    console.print(table)


def fitting_columns(columns: Sequence[str], rows: Sequence[Sequence[str]], optional: Sequence[str]) -> list[str]:
    """Return the headings of a table without columns that are empty, or for which the terminal has no room.

    Args:
        columns: Headings.
        rows: Cells.
        optional: Columns that may be left out, the first one first.
    """
    widths = {
        column: max(Text(printable(cell)).cell_len for cell in (column, *cells))
        for column, *cells in zip(columns, *rows, strict=True)
        if any(cells)
    }
    for column in optional:
        if sum(widths.values()) + GAP * (len(widths) - 1) <= _out.width:
            break
        widths.pop(column, None)
    return list(widths)


def _print_blocks(console: Console, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print each row as a block, with one line per cell."""
    for number, row in enumerate(rows):
        if number:
            print_blank(console)
        for column, cell in zip(columns, row, strict=True):
            if cell:
                print_row(console, column, cell)


def print_bad_images(images: Sequence[tuple[str, str]], most: int | None = None) -> None:
    """Print images that cannot be read on stderr, each with the reason.

    Args:
        images: Paths and reasons.
        most: How many to list; by default all.
    """
    if not images:
        return
    listed = images[:most]
    more = f", such as the first {len(listed)}" if len(listed) < len(images) else ""
    print_warning(f"{plural(len(images), 'image')} cannot be read{more}:")
    print_table(["image", "error"], listed, console=_err)


def print_worst_classes(
    class_accuracy: Mapping[str, float], every: bool = False, columns: tuple[str, str] = ("class", "accuracy")
) -> None:
    """Print the accuracy of the worst classes, if any is below 100 %, or of every class.

    Args:
        class_accuracy: By name.
        every: Print them all.
        columns: What a class and its accuracy are called.
    """
    names = list(class_accuracy)
    heading, figure = columns
    if not every:
        names = sorted(names, key=lambda name: class_accuracy[name])[:WORST_CLASSES]
        if not names or class_accuracy[names[0]] == 1.0:
            return
    if len(names) < len(class_accuracy):
        names = [name for name in names if class_accuracy[name] < 1.0]
        plural = {"class": "classes"}.get(heading, f"{heading}s")
        heading = f"worst of {len(class_accuracy)} {plural}"
    print_blank()
    print_table([heading, figure], [[name, percent(class_accuracy[name])] for name in names], numbers=1)


def percent(share: float | None) -> str:
    """Format 0.9833 as 98.3 %, and None as an empty string."""
    return "" if share is None else f"{share:.1%}".replace("%", " %")


def percent_with_interval(share: float | None, interval: Sequence[float] | None) -> str:
    """Format 0.954 as 95.4 % (91 to 98 %), without what is not known."""
    return f"{percent(share)} ({percents(interval)})" if share is not None and interval else percent(share)


def percents(interval: Sequence[float]) -> str:
    """Format an interval of shares as 91 to 98 %, with decimals where it is narrow."""
    low, high = (100 * end for end in interval)
    digits = 0 if high - low >= WIDE else 1
    return f"{low:.{digits}f} to {high:.{digits}f} %"


def numbers(interval: Sequence[float]) -> str:
    """Format an interval of numbers as 0.08 to 0.21, with the decimals that its width needs."""
    low, high = interval
    digits = min(4, max(0, 1 - math.floor(math.log10(high - low)))) if high > low else 4
    return f"{low:.{digits}f} to {high:.{digits}f}"


def _column_widths(rows: Sequence[Sequence[str]], first_number: int, room: int) -> list[int]:
    """Return column widths that fit into the room: the widest text columns shrink first."""
    texts = [[Text(row[index]) for row in rows] for index in range(len(rows[0]))]
    widths = [max(text.cell_len for text in column) for column in texts]
    words = [max(len(word) for text in column for word in ["", *text.plain.split()]) for column in texts]
    readable = [max(READABLE, min(word, LONG_WORD)) for word in words]
    for minimum in (readable, [NARROWEST] * len(words)):
        floors = [min(width, low) for width, low in zip(widths, minimum, strict=True)]
        floors[first_number:] = widths[first_number:]
        while sum(widths) + GAP * (len(widths) - 1) > room and widths != floors:
            widest = max(range(len(widths)), key=lambda index: (widths[index] > floors[index], widths[index]))
            widths[widest] -= 1
    return widths


def _lines(message: str) -> list[str]:
    """Split a message into lines, with terminal control characters escaped."""
    return [printable(line) for line in message.split("\n")] if message else []


def _write(text: str, undecodable: str = "surrogateescape") -> None:
    """Write text to stdout. Names go to a program byte for byte, and to a terminal with control characters escaped."""
    if sys.stdout.isatty():
        text = "\n".join(_lines(text.replace("\r\n", "\n")))
    sys.stdout.flush()  # Keeps the order with what was printed before.
    sys.stdout.buffer.write(text.encode("utf-8", undecodable))
    sys.stdout.buffer.flush()
