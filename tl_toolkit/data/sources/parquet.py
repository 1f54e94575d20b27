"""Parquet files: images themselves or their paths, in one file or in a folder of them."""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from tl_toolkit.data.parquet_images import Fetched, ParquetPart, RowGroups
from tl_toolkit.data.sources.arrow_columns import Columns, choose_columns, read_cells, read_features
from tl_toolkit.data.sources.base import Source, SourceOptions
from tl_toolkit.data.sources.columns import Columns as PathColumns
from tl_toolkit.data.sources.parquet_files import find_files, split_files
from tl_toolkit.data.sources.rows import Rows, source_of_rows
from tl_toolkit.data.sources.stored_rows import source_of_store
from tl_toolkit.data.sources.table import rows_of_table
from tl_toolkit.errors import DataError
from tl_toolkit.io.files import expand_path, is_file
from tl_toolkit.io.fingerprints import fingerprint_file
from tl_toolkit.io.reader_threads import call_with_stall_guard, reading
from tl_toolkit.io.remote_files import RemoteFiles, fetchers
from tl_toolkit.io.tables import Table
from tl_toolkit.system.extras import import_extra
from tl_toolkit.text import join_names

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class ListedFile:
    """A Parquet file of a source.

    Attributes:
        name: What messages call it.
        split: The split that its name says, if any.
        file: Its path, or where to fetch it.
        identity: Changes when its content does.
        open: Opens it to read the labels.
    """

    name: str
    split: str | None
    file: str | Fetched
    identity: bytes
    open: Callable[[], "pq.ParquetFile"]


def open_parquet(spec: object, options: SourceOptions) -> Source | None:
    """Open a Parquet file, or a folder of them.

    Raises:
        DataError: They are damaged, or not as expected.
    """
    found = call_with_stall_guard(find_files, spec) if isinstance(spec, str) else []
    if not found or not isinstance(spec, str):
        return None
    path = expand_path(spec)
    import_extra("pyarrow.parquet", "parquet", spec, DataError)
    splits = split_files(found, spec)
    if len(found) == 1 and is_file(path):
        splits = None  # The name of a single file is the user's own.
    root = path.parent if is_file(path) else path
    files = [_listed(root / name, name, splits[name] if splits else None) for name in found]
    return call_with_stall_guard(lambda: source_of_files(files, path, options))


def source_of_files(files: Sequence[ListedFile], path: Path, options: SourceOptions) -> Source:
    """Return the source of Parquet files of one table.

    Args:
        files: The files; all name a split, or none does.
        path: What the user named: a file, next to which images without bytes are, or a folder.
        options: How to read them.

    Raises:
        DataError: A file is damaged, columns are missing, or labels are not as expected.
    """
    remote = not isinstance(files[0].file, str)
    opened = _each(_open, files, remote)
    schema = opened[0].schema_arrow
    by_file = files[0].split is not None and options.split_column is None
    columns = choose_columns(schema, read_features(schema.metadata), options, files[0].name, find_split=not by_file)
    for file, parquet in zip(files[1:], opened[1:], strict=True):
        _check_same_columns(columns, files[0].name, schema, file.name, parquet.schema_arrow)
    if not sum(parquet.metadata.num_rows for parquet in opened):
        raise DataError(f"{path.name} has no rows: it needs one for each image.")
    read = functools.partial(_read, columns=columns, schema=schema)
    tables = _each(lambda pair: read(*pair), list(zip(files, opened, strict=True)), remote)
    cells = {name: [cell for table in tables for cell in read_cells(table[name])] for name in columns.beside_image}
    splits = [
        file.split for file, table in zip(files, tables, strict=True) for _ in range(table.num_rows) if file.split
    ]
    given = splits if by_file else None
    if not columns.holds_images:
        if remote:
            raise DataError(f"{path.name}: {columns.image} holds text. Only images inside the files can be streamed.")
        cells[columns.image] = [cell for table in tables for cell in table[columns.image].to_pylist()]
        return source_of_rows(_rows_of_paths(columns, cells, path, options, given), options)
    store = _store(files, opened, columns.image, options)
    return source_of_store(path.name, store, columns, cells, options, given, _paths(columns.image, tables))


def _rows_of_paths(
    columns: Columns, cells: Mapping[str, list[Any]], path: Path, options: SourceOptions, splits: list[str] | None
) -> Rows:
    """Return the rows of a table that has the paths of the images."""
    table = Table(path.name, tuple(cells), cells, range(len(cells[columns.image])))
    used = PathColumns(columns.image, columns.labels, columns.split, columns.group)
    rows = rows_of_table(table, used, path if is_file(path) else path / path.name, options)
    names = columns.class_names or rows.class_names
    return dataclasses.replace(rows, class_names=names, splits=splits or rows.splits)


def _listed(path: Path, name: str, split: str | None) -> ListedFile:
    import pyarrow.parquet as pq

    identity = fingerprint_file(path)
    if identity is None:
        raise DataError(f"{path} was removed while it was read.")
    return ListedFile(name, split, str(path), identity, functools.partial(pq.ParquetFile, str(path)))


def _open(file: ListedFile) -> "pq.ParquetFile":
    if isinstance(file.file, str) and not Path(file.file).stat().st_size:
        raise DataError(f"{file.file} is empty: it has no byte.")
    try:
        with reading(file.name):
            return file.open()
    except Exception as error:  # pyarrow's errors, and those of a file system.
        raise _damaged(file, error) from error


def _each(function: Callable[[Item], Result], items: Sequence[Item], remote: bool) -> list[Result]:
    """Call a function for each item, several at a time if they are far away."""
    return fetchers().start(function, items).results() if remote else list(map(function, items))


def _damaged(file: ListedFile, error: Exception) -> DataError:
    reason = " ".join(str(error).split()).rstrip(".")[:300] or type(error).__name__
    if not isinstance(file.file, str):
        return DataError(f"{file.name} cannot be read from the Hub: {reason}.")
    return DataError(
        f"{file.file} cannot be read as a Parquet file: it is damaged, cut off or of another kind ({reason}). Copy or "
        "write it again."
    )


def _check_same_columns(columns: Columns, first: str, expected: "pa.Schema", name: str, found: "pa.Schema") -> None:
    for column in [columns.image, *columns.beside_image]:
        if column not in found.names:
            raise DataError(
                f"{name} has no column {column}, which {first} has; its columns are {join_names(found.names, 12)}. All "
                "files of a table need the same columns."
            )
        types = expected.field(column).type, found.field(column).type
        if types[0] != types[1] and found.field(column).type != "null":
            raise DataError(
                f"{column} holds {types[1]} in {name}, but {types[0]} in {first}. All files of a table need the same "
                "types."
            )


def _read(file: ListedFile, parquet: "pq.ParquetFile", columns: Columns, schema: "pa.Schema") -> "pa.Table":
    """Read the columns beside the images, and the names of images that are structs."""
    wanted = list(columns.beside_image)
    kind = schema.field(columns.image).type
    if not columns.holds_images:
        wanted.append(columns.image)
    elif hasattr(kind, "get_field_index") and kind.get_field_index("path") >= 0:
        wanted.append(f"{columns.image}.path")
    try:
        with reading(file.name):
            return parquet.read(columns=wanted)
    except Exception as error:  # pyarrow's errors, and those of a file system.
        raise _damaged(file, error) from error


def _store(
    files: Sequence[ListedFile], opened: Sequence["pq.ParquetFile"], column: str, options: SourceOptions
) -> RowGroups:
    """Return the images of all files."""
    parts, size = [], 0
    for file, parquet in zip(files, opened, strict=True):
        groups = [parquet.metadata.row_group(index) for index in range(parquet.metadata.num_row_groups)]
        parts.append(ParquetPart(file.name, file.file, file.identity, tuple(group.num_rows for group in groups)))
        size += sum(_image_bytes(group, column) for group in groups)
    return RowGroups(parts, column, size, RemoteFiles.of_size(options.cache_size))


def _image_bytes(group: Any, column: str) -> int:
    chunks = (group.column(index) for index in range(group.num_columns))
    return sum(chunk.total_uncompressed_size for chunk in chunks if chunk.path_in_schema in (column, f"{column}.bytes"))


def _paths(column: str, tables: Sequence["pa.Table"]) -> "pa.ChunkedArray | None":
    """Return the paths beside the images, if there are any."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if column not in tables[0].column_names:
        return None
    return pa.chunked_array([pc.struct_field(chunk, "path") for table in tables for chunk in table[column].chunks])
