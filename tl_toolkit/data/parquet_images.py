"""Images inside Parquet files, read by row group when they are needed."""

import os
import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from tl_toolkit.data.stored_images import ImageStore
from tl_toolkit.io.reader_threads import reading
from tl_toolkit.io.row_cache import fingerprint_file

CACHE_BYTES = 2**28
"""Row groups that a process holds: 256 MiB, or the one that it reads if that is larger. Images of a smaller set are
read in any order; those of a larger one in an order by row group, so that each group is read about once an epoch."""

OPEN_FILES = 8
"""Files that a process keeps open."""


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
    """

    def __init__(self, parts: Sequence[ParquetPart], column: str, size: int) -> None:
        counts = [count for part in parts for count in part.rows]
        super().__init__(sum(counts))
        self.parts = parts
        self.column = column
        self.size = size
        self._part_of = [index for index, part in enumerate(parts) for _ in part.rows]
        self._first_group = np.cumsum([0, *(len(part.rows) for part in parts)]).tolist()
        self._first_row = np.cumsum([0, *counts]).tolist()
        self._process = 0
        self._reset()

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
        """Return the row groups of some rows; None if all row groups fit into memory."""
        if self.size <= CACHE_BYTES or len(self._part_of) == 1:
            return None
        found: list[int] = (np.searchsorted(self._first_row, rows, side="right") - 1).tolist()
        return found

    def _part(self, row: int) -> int:
        return self._part_of[bisect_right(self._first_row, row) - 1]

    def cell(self, row: int) -> tuple[bytes | None, str | None]:
        """Return the bytes of a row's image, and its path.

        Raises:
            Exception: The row group is damaged, or cannot be fetched.
        """
        group = bisect_right(self._first_row, row) - 1
        part = self.parts[self._part_of[group]]
        path = part.local()  # Before the lock: a download takes a while.
        with reading(path), self._lock_here():
            columns = self._columns(group, part, path)
        at = row - self._first_row[group]
        return columns[0][at].as_py(), columns[1][at].as_py() if columns[1] is not None else None

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__.copy()
        for name in ("_lock", "_held", "_files"):
            del state[name]
        return state | {"_process": 0}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._reset()

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._held: OrderedDict[int, Any] = OrderedDict()
        self._files: OrderedDict[int, Any] = OrderedDict()

    def _lock_here(self) -> threading.Lock:
        if self._process != os.getpid():  # A fork copies a lock that may be held, and files at the same position.
            self._reset()
            self._process = os.getpid()
        return self._lock

    def _columns(self, group: int, part: ParquetPart, path: str) -> tuple[Any, Any]:
        """Return bytes and paths of a row group, from memory or from the file."""
        if group not in self._held:
            try:
                self._held[group] = self._read(group, part, path)
            except Exception as error:  # noqa: BLE001  # Of many types. Each image of the group is told it.
                self._held[group] = error
            while len(self._held) > 1 and sum(map(_size, self._held.values())) > CACHE_BYTES:
                self._held.popitem(last=False)
        self._held.move_to_end(group)
        found = self._held[group]
        if isinstance(found, Exception):
            raise found
        columns: tuple[Any, Any] = found
        return columns

    def _read(self, group: int, part: ParquetPart, path: str) -> tuple[Any, Any]:
        import pyarrow.parquet as pq

        index = self._part_of[group]
        if index not in self._files:
            part.check_unchanged(path)
            self._files[index] = pq.ParquetFile(path)
            if len(self._files) > OPEN_FILES:
                self._files.popitem(last=False)[1].close()
        within = group - self._first_group[index]
        table = self._files[index].read_row_group(within, columns=[self.column], use_threads=False)
        if len(table) != part.rows[within]:
            raise ValueError(f"{part.name} was changed while it was read")
        columns = dict(zip(table.column_names, table.columns, strict=True))
        if self.column in columns and not _is_struct(columns[self.column].type):
            return columns[self.column], None
        table = table.flatten()
        names = dict(zip(table.column_names, table.columns, strict=True))
        return names[f"{self.column}.bytes"], names.get(f"{self.column}.path")


def _is_struct(kind: Any) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_struct(kind))


def _size(held: Any) -> int:
    return 0 if isinstance(held, Exception) else sum(column.nbytes for column in held if column is not None)
