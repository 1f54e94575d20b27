"""Images inside Parquet files, read by row group when they are needed."""

import contextlib
import os
import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from tl_toolkit.data.stored_images import ImageStore
from tl_toolkit.errors import DownloadError
from tl_toolkit.io.fingerprints import fingerprint_file
from tl_toolkit.io.reader_threads import reading
from tl_toolkit.io.remote_files import RemoteFiles

if TYPE_CHECKING:
    import pyarrow as pa

CACHE_BYTES = 2**28
"""Row groups that a process holds: 256 MiB. Images of a smaller set are read from there in any order. A row group of
a larger set is unpacked once into the cache of remote files, from where it is mapped into memory, and training takes
the images in an order by row group."""

OPEN_FILES = 8
"""Parquet files that a process keeps open."""

ROWS_AT_ONCE = 64
"""Rows that are unpacked at a time, as a row group may be larger than the memory."""

BUFFER_BYTES = 2**20
"""What is read of a column at a time."""


class Fetched(Protocol):
    """A file elsewhere."""

    def fetch(self) -> Path:
        """Return a copy on this machine."""


@dataclass(frozen=True)
class ParquetPart:
    """A Parquet file with images.

    Attributes:
        name: What messages call it.
        file: Its path, or where to fetch it.
        identity: Changes when its content does.
        rows: The number of rows of each row group.
    """

    name: str
    file: str | Fetched
    identity: bytes
    rows: tuple[int, ...]

    def local(self) -> str:
        """Return the path of the file, which is fetched if it is remote."""
        return self.file if isinstance(self.file, str) else str(self.file.fetch())

    def check_unchanged(self, path: str) -> None:
        """Refuse a file that is not the one whose row groups were listed.

        Raises:
            ValueError: It was replaced or removed.
        """
        if isinstance(self.file, str) and fingerprint_file(path) != self.identity:
            raise ValueError(f"{self.name} was changed or removed while it was read")


class RowGroups(ImageStore):
    """The column with the images, by row group: the last ones used stay in memory.

    Threads may share it. A forked or spawned process starts with none in memory.

    Args:
        parts: The files.
        column: The column: bytes, or the struct {bytes, path} of Hugging Face's image format.
        size: Bytes of the whole column in memory.
        cache: Where row groups are unpacked that do not fit into memory together.
    """

    def __init__(self, parts: Sequence[ParquetPart], column: str, size: int, cache: RemoteFiles) -> None:
        counts = [count for part in parts for count in part.rows]
        super().__init__(sum(counts))
        self.parts = parts
        self.column = column
        self.fits = size <= CACHE_BYTES
        self.cache = cache
        self._part_of = [index for index, part in enumerate(parts) for _ in part.rows]
        self._first_group = np.cumsum([0, *(len(part.rows) for part in parts)]).tolist()
        self._first_row = np.cumsum([0, *counts]).tolist()
        self._begin()

    def place(self, row: int) -> tuple[str, int]:
        """Return the file of a row, and the row's number there."""
        index = self._part(row)
        return self.parts[index].name, row - self._first_row[self._first_group[index]]

    def identity(self, row: int) -> bytes | None:
        """Return that of the row's file as it is now."""
        part = self.parts[self._part(row)]
        return fingerprint_file(part.file) if isinstance(part.file, str) else part.identity

    def path_of(self, row: int, path: str) -> str:
        """Return the path relative to the folder of the row's file.

        Raises:
            ValueError: That file is elsewhere.
        """
        part = self.parts[self._part(row)]
        if not isinstance(part.file, str):
            raise ValueError(f"the cell has a path, {path}, but no bytes")
        return str(Path(part.file).parent / path)

    def shards_of(self, rows: np.ndarray) -> Sequence[int] | None:
        """Return the row groups of some rows, or the files if these must be fetched; None if all fits into memory."""
        if self.fits or len(self._part_of) == 1:
            return None
        groups = np.searchsorted(self._first_row, rows, side="right") - 1
        remote = not isinstance(self.parts[0].file, str)
        found: list[int] = (np.array(self._part_of)[groups] if remote else groups).tolist()
        return found

    def _part(self, row: int) -> int:
        return self._part_of[bisect_right(self._first_row, row) - 1]

    def cell(self, row: int) -> tuple[bytes | None, str | None]:
        """Return the bytes of a row's image, and its path.

        Raises:
            DownloadError: The row group cannot be fetched, or not be unpacked.
            Exception: It is damaged.
        """
        group = bisect_right(self._first_row, row) - 1
        content, paths = self._columns(group)
        at = row - self._first_row[group]
        return content[at].as_py(), paths[at].as_py()

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__.copy()
        for name in ("_lock", "_reading", "_held", "_files"):
            del state[name]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._begin()

    def _begin(self) -> None:
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._reading: dict[int, threading.Lock] = {}
        self._held: OrderedDict[int, Any] = OrderedDict()
        self._files: OrderedDict[int, tuple[threading.Lock, Any]] = OrderedDict()

    def _columns(self, group: int) -> tuple[Any, Any]:
        """Return bytes and paths of a row group; threads that want the same one wait until it is read."""
        if self._process != os.getpid():  # A fork copies locks that may be held, and files that share their position.
            self._begin()
        with self._lock:
            own = self._reading.setdefault(group, threading.Lock())
        with own:
            with self._lock:
                found = self._held.get(group)
                if found is not None:
                    self._held.move_to_end(group)
            if found is None:
                found = self._read(group)
                with self._lock:
                    self._held[group] = found
                    while len(self._held) > 1 and sum(map(_size, self._held.values())) > CACHE_BYTES:
                        self._reading.pop(self._held.popitem(last=False)[0], None)
        if isinstance(found, Exception):
            raise found
        columns: tuple[Any, Any] = found
        return columns

    def _read(self, group: int) -> Any:
        """Return bytes and paths of a row group, or the error of a damaged one, which all its images are told."""
        import pyarrow as pa

        index = self._part_of[group]
        part, within = self.parts[index], group - self._first_group[index]
        try:
            if self.fits:
                with contextlib.closing(self._batches(index, within)) as batches:
                    table = pa.Table.from_batches(batches, _schema())
            else:
                name = f"{part.identity.hex()} {self.column} row group {within}"
                path = self.cache.make(name, lambda path: _write(path, self._batches(index, within)))
                table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
            return table["bytes"], table["path"]
        except DownloadError:
            raise
        except Exception as error:  # noqa: BLE001  # Of many types.
            return error.with_traceback(None)

    def _batches(self, index: int, within: int) -> Generator["pa.RecordBatch", None, None]:
        """Yield bytes and paths of a row group of a Parquet file, some rows at a time."""
        part = self.parts[index]
        path = part.local()  # Before the locks: a download takes a while.
        with reading(path):
            rows = 0
            try:
                lock, file = self._open(index, path)
                with lock:
                    for batch in file.iter_batches(ROWS_AT_ONCE, [within], [self.column], use_threads=False):
                        rows += len(batch)
                        yield _bytes_and_paths(batch.column(0))
            except (
                OSError
            ) as error:  # Also pyarrow's for damaged files: the cache does not fail, but what it is made of.
                raise ValueError(error.strerror or str(error)) from error
            if rows != part.rows[within]:
                raise ValueError(f"{part.name} was changed while it was read")

    def _open(self, index: int, path: str) -> tuple[threading.Lock, Any]:
        """Return a Parquet file, which only one thread at a time may read, and its lock."""
        import pyarrow.parquet as pq

        with self._lock:
            if index not in self._files:
                self.parts[index].check_unchanged(path)
                self._files[index] = threading.Lock(), pq.ParquetFile(path, buffer_size=BUFFER_BYTES)
                if len(self._files) > OPEN_FILES:
                    self._files.popitem(last=False)  # It is closed once no thread reads it.
            self._files.move_to_end(index)
            return self._files[index]


def _schema() -> "pa.Schema":
    import pyarrow as pa

    return pa.schema([("bytes", pa.large_binary()), ("path", pa.string())])


def _write(path: Path, batches: Generator["pa.RecordBatch", None, None]) -> None:
    """Write an Arrow file, which can be mapped into memory."""
    import pyarrow as pa

    with (
        contextlib.closing(batches),  # It holds the lock of the Parquet file.
        pa.OSFile(str(path), "wb") as file,
        pa.ipc.new_file(file, _schema()) as writer,
    ):
        for batch in batches:
            writer.write_batch(batch)


def _bytes_and_paths(cells: "pa.Array") -> "pa.RecordBatch":
    """Return the bytes of images and their paths, of which there are none if a cell is bytes alone."""
    import pyarrow as pa

    content, paths = cells, pa.nulls(len(cells), pa.string())
    if pa.types.is_struct(cells.type):
        fields = dict(zip((field.name for field in cells.type), cells.flatten(), strict=True))
        content, paths = fields["bytes"], fields.get("path", paths)
    return pa.record_batch([content.cast(pa.large_binary()), paths.cast(pa.string())], schema=_schema())


def _size(held: Any) -> int:
    return 0 if isinstance(held, Exception) else sum(column.nbytes for column in held)
