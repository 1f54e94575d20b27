"""Tables as text: CSV, TSV and JSON lines, read by column."""

import codecs
import csv
import itertools
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from tl_toolkit.errors import DataError
from tl_toolkit.io.reader_threads import reading
from tl_toolkit.text import format_value, join_names

CHUNK = 500
"""Rows that are read at a time: with more of them, Python's garbage collector takes most of the time."""

HEAD_BYTES = 4096
FIRST_CELLS, FEW_VALUES = 10_000, 0.5
"""A column whose first cells are different in more than this share is not searched for equal cells."""

UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
OTHER_DELIMITERS = (";", "\t")
"""What separates the columns of a CSV file if it is not a comma: spreadsheets in many languages write semicolons."""

MAX_LISTED = 5


@dataclass(frozen=True)
class Table:
    """Columns of a table.

    Attributes:
        name: Of the file.
        columns: The names of all columns.
        cells: The cells of the columns that were wanted, by name. Text in CSV and TSV, in JSON lines any value.
        lines: The line of each row, from 1.
        notes: What a user should know about how it was read.
    """

    name: str
    columns: tuple[str, ...]
    cells: Mapping[str, Sequence[Any]]
    lines: Sequence[int]
    notes: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.lines)


def read_table(path: Path, wanted: Callable[[str], bool]) -> Table:
    """Read a .csv, .tsv or .jsonl file, in UTF-8 with or without a byte-order mark. Blank lines do not count.

    Args:
        path: The file.
        wanted: Whether to keep a column, by its name.

    Raises:
        DataError: It is not such a table; the message names the line.
    """
    with reading(path):
        _check_encoding(path)
        if path.suffix.lower() == ".jsonl":
            return _read_json_lines(path, wanted)
        try:
            return _read_csv(path, wanted)
        except UnicodeDecodeError as error:
            raise _not_utf8(path, _first_undecodable_line(path)) from error


class _Column:
    """The cells of a column. Equal cells are one object: a million labels are a few classes."""

    def __init__(self) -> None:
        self.cells: list[Any] = []
        self._known: dict[Any, Any] | None = {}

    def extend(self, cells: Sequence[Any]) -> None:
        if self._known is not None:
            try:
                cells = list(map(self._known.setdefault, cells, cells))
            except TypeError:  # A list or an object of JSON.
                self._known = None
        self.cells += cells
        if self._known is not None and len(self._known) > FEW_VALUES * max(len(self.cells), FIRST_CELLS):
            self._known = None


def _read_csv(path: Path, wanted: Callable[[str], bool]) -> Table:
    delimiter, notes = "\t" if path.suffix.lower() == ".tsv" else ",", []
    with path.open(encoding="utf-8-sig", newline="") as file:
        if delimiter == ",":
            head = file.readline()
            file.seek(0)
            other = [sign for sign in OTHER_DELIMITERS if "," not in head and sign in head]
            if other:
                delimiter = other[0]
                notes = [f"{path.name} has no comma in its first line: its columns are separated by {delimiter!r}."]
        reader = csv.reader(file, delimiter=delimiter, strict=True)
        try:
            header = next((row for row in reader if not _is_blank(row)), [])
            columns = _check_header(path, header)
            kept = {at: _Column() for at, name in enumerate(columns) if wanted(name)}
            lines = array("L")
            start = reader.line_num
            while chunk := list(itertools.islice(reader, CHUNK)):
                numbers: Sequence[int] = range(start + 1, start + len(chunk) + 1)
                if reader.line_num - start != len(chunk):  # A cell in quotes has line ends.
                    numbers = list(_line_numbers(chunk, start))
                start = reader.line_num
                if set(map(len, chunk)) != {len(columns)} or any(not row[0] for row in chunk):
                    chunk, numbers = _without_blank(path, chunk, numbers, len(columns))
                lines.extend(numbers)
                for at, column in kept.items():
                    column.extend([row[at] for row in chunk])
        except csv.Error as error:
            raise _not_csv(path, reader.line_num, error) from error
    if not lines:
        raise DataError(f"{path} has a first line ({join_names(columns)}), and no rows below it.")
    return Table(path.name, columns, {columns[at]: column.cells for at, column in kept.items()}, lines, notes)


def _is_blank(row: Sequence[str]) -> bool:
    return not any(cell and not cell.isspace() for cell in row)


def _line_numbers(rows: Iterable[Sequence[str]], start: int) -> Iterator[int]:
    """Yield the line at which each row begins; cells may have line ends."""
    for row in rows:
        yield start + 1
        start += 1 + sum(len(cell.splitlines()) - (not cell.endswith(("\n", "\r"))) for cell in row if cell)


def _check_header(path: Path, header: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the columns.

    Raises:
        DataError: There are none, or two are the same.
    """
    columns = tuple(name.strip() for name in header)
    if not columns:
        raise DataError(f"{path} is empty: a table has a line with the names of its columns, and a row for each image.")
    if double := sorted({name for name in columns if name and columns.count(name) > 1}):
        raise DataError(f"{path} has several columns of one name ({join_names(double)}). Rename them, or take one out.")
    return columns


def _without_blank(
    path: Path, rows: Sequence[list[str]], lines: Sequence[int], width: int
) -> tuple[list[list[str]], list[int]]:
    """Return the rows with cells, and their lines.

    Raises:
        DataError: A row has another number of cells than the first line.
    """
    kept, kept_lines, ragged = [], [], []
    for row, line in zip(rows, lines, strict=True):
        if _is_blank(row):
            continue
        kept.append(row)
        kept_lines.append(line)
        if len(row) != width:
            ragged.append(f"line {line}: {len(row)}")
    if ragged:
        raise DataError(
            f"{path} has rows with another number of cells than its first line, which has {width} "
            f"({join_names(ragged, MAX_LISTED)}). Put a cell with a separator in it into quotes."
        )
    return kept, kept_lines


def _read_json_lines(path: Path, wanted: Callable[[str], bool]) -> Table:
    names: dict[str, bool] = {}
    kept: dict[str, _Column] = {}
    lines = array("L")
    decode = msgspec.json.Decoder().decode
    with path.open("rb") as file:
        numbered = enumerate(_without_mark(file), start=1)
        while chunk := list(itertools.islice(numbered, CHUNK)):
            rows = []
            for number, line in chunk:
                if line.isspace():
                    continue
                rows.append(_decode_row(path, number, line, decode))
                lines.append(number)
            for name in dict.fromkeys(itertools.chain.from_iterable(rows)):
                if name not in names:
                    names[name] = wanted(name)
                    if names[name]:
                        kept[name] = _Column()
                        kept[name].extend([None] * (len(lines) - len(rows)))
            for name, column in kept.items():
                column.extend([row.get(name) for row in rows])
    if not lines:
        raise DataError(f"{path} is empty: a table of JSON lines has an object for each image, one on each line.")
    return Table(path.name, tuple(names), {name: column.cells for name, column in kept.items()}, lines)


def _without_mark(lines: Iterable[bytes]) -> Iterator[bytes]:
    rest = iter(lines)
    if (first := next(rest, None)) is not None:
        yield first.removeprefix(codecs.BOM_UTF8)
    yield from rest


def _decode_row(path: Path, number: int, line: bytes, decode: Callable[[bytes], Any]) -> dict[str, Any]:
    try:
        row = decode(line)
    except UnicodeDecodeError as error:
        raise _not_utf8(path, number) from error
    except msgspec.DecodeError as error:
        if _decodes(line):
            raise DataError(
                f"Line {number} of {path} is not JSON ({error}): each line is an object such as "
                '{"path": "cat/1.jpg", "label": "cat"}.'
            ) from error
        raise _not_utf8(path, number) from error
    if not isinstance(row, dict):
        raise DataError(
            f"Line {number} of {path} is {format_value(row)}, not an object: each line is one such as "
            '{"path": "cat/1.jpg", "label": "cat"}.'
        )
    return row


def _decodes(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def _check_encoding(path: Path) -> None:
    """Refuse UTF-16, which spreadsheets write as "Unicode text", and what is no text.

    Raises:
        DataError: The file is such, or empty, or cannot be read.
    """
    try:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from error
    if head.startswith(UTF_16):
        raise DataError(f"{path} is UTF-16: save it as UTF-8, or run iconv -f UTF-16 -t UTF-8.")
    if b"\0" in head:
        raise DataError(f"{path} is no text, although its name says that it is a table: save it as CSV in UTF-8.")


def _not_utf8(path: Path, line: int) -> DataError:
    return DataError(
        f"Line {line} of {path} is not UTF-8. Save it as UTF-8, or convert it by its own encoding: "
        "iconv -f ISO-8859-1 -t UTF-8."
    )


def _first_undecodable_line(path: Path) -> int:
    with path.open("rb") as file:
        return next((number for number, line in enumerate(file, start=1) if not _decodes(line)), 0)


def _not_csv(path: Path, line: int, error: Exception) -> DataError:
    if "field larger" in str(error) or "unexpected end" in str(error):
        return DataError(f"{path} has a quote that is never closed, at line {line} or before it.")
    return DataError(f"Line {line} of {path} is not CSV: {error}. A quote within quotes is written twice.")
