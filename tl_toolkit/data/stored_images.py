# ruff: noqa: D102  # `ImageSet` documents the methods.
"""Encoded images in rows of larger files, such as Parquet: each is bytes, with a path that names it."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Any

import numpy as np

from tl_toolkit.data.image_sets import ImageSet
from tl_toolkit.data.images import ImageLike, fingerprint_image
from tl_toolkit.io.fingerprints import IDENTITY_BYTES


class ImageStore(ABC):
    """Rows with an image each. Threads may share it, and it can be sent to another process.

    Args:
        rows: Number of rows.

    Attributes:
        digests: Of the images that were read.
    """

    def __init__(self, rows: int) -> None:
        self.digests = ContentDigests(rows)

    def __len__(self) -> int:
        return len(self.digests)

    @abstractmethod
    def cell(self, row: int) -> tuple[bytes | None, str | None]:
        """Return the bytes of a row's image, and its path. Any error means that it cannot be read."""

    @abstractmethod
    def place(self, row: int) -> tuple[str, int]:
        """Return the file or the split of a row, and the row's number there, from 0 on."""

    @abstractmethod
    def identity(self, row: int) -> bytes | None:
        """Return what changes when the file of a row does; None if the file is gone."""

    def path_of(self, row: int, path: str) -> str:  # noqa: ARG002  # for subclasses
        """Return the file of a row that has a path but no bytes."""
        return path

    def shards_of(self, rows: np.ndarray) -> Sequence[int] | None:  # noqa: ARG002
        """Return the shards of some rows; see `ImageSet.shards`."""
        return None


class StoredImages(ImageSet):
    """Images of a store.

    Args:
        store: The rows.
        names: What to call the image of each row, None for its place; None if no row has a name.
        rows: The rows of the images; None for all.
    """

    are_encoded = True

    def __init__(self, store: ImageStore, names: Any | None = None, rows: np.ndarray | None = None) -> None:
        self.store = store
        self.rows = np.arange(len(store)) if rows is None else rows
        self._names = names

    def __len__(self) -> int:
        return len(self.rows)

    def read(self, index: int) -> ImageLike:
        row = int(self.rows[index])
        content, path = self.store.cell(row)
        if content is not None:
            self.store.digests.note(row, content)
            return content
        if path is None:
            raise ValueError("the cell is empty")
        return self.store.path_of(row, path)

    def name(self, index: int) -> str:
        name = self._names[int(self.rows[index])].as_py() if self._names is not None else None
        return self.place(index) if name is None else str(name)

    def place(self, index: int) -> str:
        """Return where the image of an index stands, for messages."""
        where, number = self.store.place(int(self.rows[index]))
        return f"{where} row {number}"

    def fingerprint(self, index: int) -> bytes | None:
        row = int(self.rows[index])
        if (identity := self.store.identity(row)) is None:
            return None
        number = self.store.place(row)[1]
        return blake2b(identity + number.to_bytes(8, "little"), digest_size=IDENTITY_BYTES).digest()

    def content_hash(self, index: int) -> bytes | None:
        return self.store.digests.of(int(self.rows[index]), lambda: self.read(index))

    @property
    def shards(self) -> Sequence[int] | None:
        return self.store.shards_of(self.rows)

    def subset(self, indices: Sequence[int]) -> "StoredImages":
        return StoredImages(self.store, self._names, self.rows[np.asarray(indices, dtype=np.int64)])

    def __add__(self, other: ImageSet) -> ImageSet:
        if isinstance(other, StoredImages) and other.store is self.store:
            return StoredImages(self.store, self._names, np.concatenate([self.rows, other.rows]))
        return super().__add__(other)


class ContentDigests:
    """The digest of each row's bytes, known once they were read. Another process starts with none.

    Args:
        rows: Number of rows.
    """

    def __init__(self, rows: int) -> None:
        self._rows = rows
        self._forget()

    def __len__(self) -> int:
        return self._rows

    def note(self, row: int, content: bytes) -> None:
        """Keep the digest of a row's bytes."""
        if not self._known[row]:
            self._digests[row] = np.frombuffer(fingerprint_image(content) or b"", np.uint8)
            self._known[row] = True

    def of(self, row: int, read: Callable[[], object]) -> bytes | None:
        """Return a row's digest, from memory or by calling `read`, which notes it; None if that fails."""
        if not self._known[row]:
            try:
                read()
            except Exception:  # noqa: BLE001  # Reading the image for its pixels reports this.
                return None
        return self._digests[row].tobytes() if self._known[row] else None

    def _forget(self) -> None:
        self._digests = np.zeros((self._rows, IDENTITY_BYTES), np.uint8)  # Takes memory where a row is written.
        self._known = np.zeros(self._rows, bool)

    def __getstate__(self) -> dict[str, Any]:
        return {"_rows": self._rows}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._forget()
