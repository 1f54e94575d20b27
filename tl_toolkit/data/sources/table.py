"""Tables of paths and labels: CSV, TSV and JSON lines."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tl_toolkit.data.image_sets import FileImages, ImageSet, Subset
from tl_toolkit.data.remote_images import RemoteImages
from tl_toolkit.data.sources.base import Source, SourceOptions
from tl_toolkit.data.sources.columns import Columns, find_columns, may_be_used
from tl_toolkit.data.sources.names import find_table
from tl_toolkit.data.sources.row_labels import is_empty, places_of
from tl_toolkit.data.sources.rows import RowPlaces, Rows, source_of_rows
from tl_toolkit.errors import DataError
from tl_toolkit.io.files import expand_path
from tl_toolkit.io.reader_threads import call_with_stall_guard
from tl_toolkit.io.remote_files import RemoteFiles
from tl_toolkit.io.tables import Table, read_table
from tl_toolkit.text import format_value, plural

ENDINGS = (".csv", ".tsv", ".jsonl")

SCHEME = "://"
FILE_SCHEME = "file://"


def open_table(spec: object, options: SourceOptions) -> Source | None:
    """Open a table with a row for each image. Paths in it are relative to its folder, or to the image root."""
    if not isinstance(spec, str) or not spec.lower().endswith(ENDINGS):
        return None
    path = find_table(spec)
    return None if path is None else call_with_stall_guard(_read, path, options)


def _read(path: Path, options: SourceOptions) -> Source:
    table = read_table(path, lambda column: may_be_used(column, options))
    columns = find_columns(table.columns, options, path.name)
    return source_of_rows(rows_of_table(table, columns, path, options), options)


def rows_of_table(table: Table, columns: Columns, path: Path, options: SourceOptions) -> Rows:
    """Return the rows of a table of paths, in whatever format it is stored.

    Args:
        table: Its cells.
        columns: Which of them are what.
        path: The table itself, next to which its images are.
        options: How to read it.

    Raises:
        DataError: A row has no path.
    """
    places = RowPlaces("line" if path.suffix.lower() in ENDINGS else "row", table.lines)
    root: str | Path = options.image_root or path.parent
    if not (remote := SCHEME in str(root)):
        root = expand_path(root)
    names = _paths(table.cells[columns.path], root, places, path.name)
    per_class = len(columns.labels) > 1
    labels = [table.cells[name] for name in columns.labels]
    return Rows(
        name=path.name,
        images=images_of(names, options),
        labels=list(zip(*labels, strict=True)) if per_class else labels[0],
        places=places,
        class_names=columns.labels if per_class else None,
        splits=table.cells[columns.split] if columns.split else None,
        groups=table.cells[columns.group] if columns.group else None,
        root=None if remote else Path(root),
        notes=table.notes,
        per_class=per_class,
        keys=names,
    )


def images_of(names: Sequence[str], options: SourceOptions) -> ImageSet:
    """Return the images of paths and URLs."""
    remote = [SCHEME in name for name in names]
    if not any(remote):
        return FileImages(names)
    urls = [name for name in names if SCHEME in name]
    files = RemoteFiles.of_size(options.cache_size)
    files.check(urls)
    far_images = RemoteImages(urls, files)
    if all(remote):
        return far_images
    sets: dict[bool, ImageSet] = {
        False: FileImages([name for name, far in zip(names, remote, strict=True) if not far]),
        True: far_images,
    }
    counts = {False: 0, True: 0}
    places = []
    for far in remote:
        places.append((sets[far], counts[far]))
        counts[far] += 1
    return Subset(places)


def _paths(cells: Sequence[Any], root: str | Path, places: Sequence[str], table: str) -> list[str]:
    """Return the path or URL of each row.

    Raises:
        DataError: A cell is empty, or no text.
    """
    if set(map(type, cells)) != {str} or not all(cells):
        if empty := [at for at, cell in enumerate(cells) if is_empty(cell)]:
            raise DataError(f"{table} has {plural(len(empty), 'row')} without a path ({places_of(places, empty)}).")
        if wrong := [at for at, cell in enumerate(cells) if not isinstance(cell, str)]:
            raise DataError(f"{places[wrong[0]]} of {table} has {format_value(cells[wrong[0]])} as a path, not text.")
    start = _start(root)
    full = _start(os.path.abspath(root)) if isinstance(root, Path) else start  # noqa: PTH100  # Links stay.
    return [
        start + cell
        if cell[0] not in "./" and "\\" not in cell and ":" not in cell and "//" not in cell
        else _unusual_path(cell, start, full)
        for cell in cells
    ]


def _start(root: str | Path) -> str:
    """Return what relative paths begin with, such that the names are those of a folder's images."""
    return "" if str(root) == "." else f"{str(root).rstrip('/')}/"


def _unusual_path(cell: str, start: str, full: str) -> str:
    """Return the path or URL of a cell that is not simply a relative path.

    An absolute path below the root is made relative to it, so that it is split like a relative one.
    """
    if cell.startswith(FILE_SCHEME):
        from urllib.request import url2pathname

        cell = url2pathname(cell.removeprefix(FILE_SCHEME).removeprefix("localhost"))
    if SCHEME in cell:
        return cell
    if "\\" in cell and not os.path.exists(start + cell):  # noqa: PTH110  # quicker, and there may be very many
        cell = cell.replace("\\", "/")
    cell = os.path.normpath(cell) if SCHEME not in start else cell.removeprefix("./")
    if os.path.isabs(cell):  # noqa: PTH117
        return start + cell.removeprefix(full) if cell.startswith(full) else cell
    return start + cell
