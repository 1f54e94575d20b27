# ruff: noqa: D102  # `ImageSet` documents the methods.
"""Images inside Parquet files, read by row group when they are needed."""

import os
import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from tl_toolkit.data.image_sets import ImageSet
from tl_toolkit.data.images import ImageLike, fingerprint_image
from tl_toolkit.io.reader_threads import reading
from tl_toolkit.io.row_cache import IDENTITY_BYTES, fingerprint_file

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


class RowGroups:
    """The column with the images, by row group: the last ones used stay in memory.

    Threads may share it. A forked or spawned process starts with none in memory.

    Args:
        parts: The files.
        column: The column: bytes, or the struct {bytes, path} of Hugging Face's image format.
        size: Bytes of the whole column in memory.
    """

    def __init__(self, parts: Sequence[ParquetPart], column: str, size: int) -> None:
        self.parts = parts
        self.column = column
        self.size = size
        counts = [count for part in parts for count in part.rows]
        self._part_of = [index for index, part in enumerate(parts) for _ in part.rows]
        self._first_group = np.cumsum([0, *(len(part.rows) for part in parts)]).tolist()
        self._first_row = np.cumsum([0, *counts]).tolist()
        self._process = 0
        self._reset()
        self._forget_digests()

    @property
    def count(self) -> int:
        """The number of row groups."""
        return len(self._part_of)

    def __len__(self) -> int:
        return int(self._first_row[-1])

    def groups_of(self, rows: np.ndarray) -> np.ndarray:
        """Return the row group of each of some rows."""
        found: np.ndarray = np.searchsorted(self._first_row, rows, side="right") - 1
        return found

    def place(self, row: int) -> tuple[ParquetPart, int]:
        """Return the file of a row, and the row's number there."""
        group = bisect_right(self._first_row, row) - 1
        index = self._part_of[group]
        return self.parts[index], row - self._first_row[self._first_group[index]]

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

    def digest(self, row: int) -> bytes | None:
        """Return the digest of the bytes of a row that was read; None before."""
        return self._digests[row].tobytes() if self._has_digest[row] else None

    def note_digest(self, row: int, content: bytes) -> None:
        """Keep the digest of a row's bytes, for `digest`."""
        if not self._has_digest[row]:
            self._digests[row] = np.frombuffer(fingerprint_image(content) or b"", np.uint8)
            self._has_digest[row] = True

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__.copy()
        for name in ("_lock", "_held", "_files", "_digests", "_has_digest"):
            del state[name]
        return state | {"_process": 0}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._reset()
        self._forget_digests()

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._held: OrderedDict[int, Any] = OrderedDict()
        self._files: OrderedDict[int, Any] = OrderedDict()

    def _forget_digests(self) -> None:
        self._digests = np.zeros((len(self), IDENTITY_BYTES), np.uint8)  # Memory is taken where a row is written.
        self._has_digest = np.zeros(len(self), bool)

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


class ParquetImages(ImageSet):
    """Images inside Parquet files.

    Args:
        groups: Their row groups.
        names: What to call each row of the files, None for its place; None if no row has a name.
        rows: The rows of the images, counted through all files; None for all.

    Attributes:
        shards: The row group of each image; None if all of them fit into memory.
    """

    are_encoded = True

    def __init__(self, groups: RowGroups, names: Any | None = None, rows: np.ndarray | None = None) -> None:
        self.groups = groups
        self._names = names
        self.rows = np.arange(len(groups)) if rows is None else rows

    @property
    def shards(self) -> Sequence[int] | None:
        if self.groups.size <= CACHE_BYTES or self.groups.count == 1:
            return None
        found: list[int] = self.groups.groups_of(self.rows).tolist()
        return found

    def __len__(self) -> int:
        return len(self.rows)

    def read(self, index: int) -> ImageLike:
        row = int(self.rows[index])
        content, path = self.groups.cell(row)
        if content is not None:
            self.groups.note_digest(row, content)
            return content
        if path is None:
            raise ValueError("the cell is empty")
        part, _ = self.groups.place(row)
        if not isinstance(part.file, str):
            raise ValueError(f"the cell has a path, {path}, but no bytes")
        return str(Path(part.file).parent / path)

    def name(self, index: int) -> str:
        row = int(self.rows[index])
        name = self._names[row].as_py() if self._names is not None else None
        if name is not None:
            return str(name)
        return self.place(index)

    def place(self, index: int) -> str:
        """Return the file of an image and its row there, counted from 0, for messages."""
        part, number = self.groups.place(int(self.rows[index]))
        return f"{part.name} row {number}"

    def fingerprint(self, index: int) -> bytes | None:
        part, number = self.groups.place(int(self.rows[index]))
        identity = fingerprint_file(part.file) if isinstance(part.file, str) else part.identity
        return (
            blake2b(identity + number.to_bytes(8, "little"), digest_size=IDENTITY_BYTES).digest() if identity else None
        )

    def content_hash(self, index: int) -> bytes | None:
        row = int(self.rows[index])
        if (known := self.groups.digest(row)) is not None:
            return known
        try:
            self.read(index)
        except Exception:  # noqa: BLE001  # Reading it for its pixels reports this.
            return None
        return self.groups.digest(row)

    def subset(self, indices: Sequence[int]) -> "ParquetImages":
        return ParquetImages(self.groups, self._names, self.rows[np.asarray(indices, dtype=np.int64)])

    def __add__(self, other: ImageSet) -> ImageSet:
        if isinstance(other, ParquetImages) and other.groups is self.groups:
            return ParquetImages(self.groups, self._names, np.concatenate([self.rows, other.rows]))
        return super().__add__(other)
