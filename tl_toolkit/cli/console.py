"""The only place that prints."""

import json
import logging
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

UNDECODABLE_IN_JSON = "backslashreplace"
"""Makes \\udcNN of a byte that is no UTF-8, which is valid in a JSON string."""

MOST_CLASSES, WORST_CLASSES = 20, 5
"""Classes whose accuracy is told after training; of more, the worst few."""

_out = Console(highlight=False)
_err = Console(stderr=True, highlight=False)


def narrator(to_stderr: bool) -> Console:
    """Where a command tells what it does: beside its result, or on stderr where stdout is for machines."""
    return _err if to_stderr else _out


def tell_error(message: str) -> None:
    """One red line on stderr; more lines of the message follow it plainly."""
    first, *rest = message.splitlines() or ["Failed without a reason."]
    _err.print(Text.assemble(("Error: ", "bold red"), (first, "red")), soft_wrap=not _err.is_terminal)
    for line in rest:
        _err.print(escape(line), soft_wrap=not _err.is_terminal)


def tell_warning(message: str, console: Console = _err) -> None:
    """A yellow line."""
    console.print(Text.assemble(("Warning: ", "bold yellow"), message), soft_wrap=not console.is_terminal)


class LogHandler(logging.Handler):
    """Tells what is logged where no command listens, such as a warning before a file is trusted."""

    def emit(self, record: logging.LogRecord) -> None:
        """A yellow line."""
        tell_warning(record.getMessage())


def tell_choice(console: Console, what: str, value: str, why: str) -> None:
    """A decision that was taken: what, how and why."""
    line = Table.grid(padding=(0, 2, 0, 0))
    line.add_column(width=8, style="bold")
    line.add_column(overflow="fold")
    line.add_row(what, Text.assemble(value, (f"  {why}" if why else "", "dim")))
    console.print(line)


def tell_result(text: str) -> None:
    """A line on stdout as it is, never wrapped or styled."""
    _write(text + "\n")


def tell_json(value: Any) -> None:
    """One JSON value on stdout."""
    _write(json.dumps(value, indent=2, ensure_ascii=False) + "\n", UNDECODABLE_IN_JSON)


def write_lines(lines: Iterable[str], undecodable: str) -> None:
    """Lines on stdout, each as soon as it is there."""
    for line in lines:
        _write(line, undecodable)
        sys.stdout.flush()


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]], title: str = "", numbers: int = 0) -> None:
    """A table on stdout; the last `numbers` columns are set to the right."""
    if title:
        _out.print(Text(title, "bold"))
    table = Table(box=None, padding=(0, 2, 0, 0))
    for index, column in enumerate(columns):
        right = index >= len(columns) - numbers
        table.add_column(column, justify="right" if right else "left", overflow="fold", header_style="dim")
    for row in rows:
        table.add_row(*(escape(cell) for cell in row))
    _out.print(table)


def print_classes(class_accuracy: Mapping[str, float]) -> None:
    """The accuracy of every class, or of the worst where there are many."""
    worst = sorted(class_accuracy, key=lambda name: class_accuracy[name])
    names = list(class_accuracy) if len(worst) <= MOST_CLASSES else worst[:WORST_CLASSES]
    heading = "class" if len(names) == len(worst) else f"worst {len(names)} of {len(worst)} classes"
    print_table([heading, "accuracy"], [[name, percent(class_accuracy[name])] for name in names], numbers=1)


def print_files(console: Console, files: Iterable[tuple[Path, str]]) -> None:
    """Paths with what they are."""
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(overflow="fold")
    grid.add_column(style="dim", overflow="fold")
    for path, what in files:
        grid.add_row(escape(path.name), escape(what))
    console.print(Padding(grid, (0, 0, 0, 2)))


def percent(share: float | None) -> str:
    """0.9833 as 98.3 %; nothing for None."""
    return "" if share is None else f"{share:.1%}".replace("%", " %")


def _write(text: str, undecodable: str = "surrogateescape") -> None:
    """Text on stdout; what of a file name is no UTF-8 goes out as its own bytes, or as an escape in JSON."""
    sys.stdout.flush()  # What was printed before comes before.
    sys.stdout.buffer.write(text.encode("utf-8", undecodable))
    sys.stdout.buffer.flush()
