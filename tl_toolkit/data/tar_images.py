# ruff: noqa: D102  # `ImageSet` documents the methods.
"""Images inside tar files, read at any place without unpacking them."""

import os
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from tl_toolkit.data.image_sets import ImageSet
from tl_toolkit.data.images import ImageLike, fingerprint_image
from tl_toolkit.errors import RemoteFileError
from tl_toolkit.io.fingerprints import IDENTITY_BYTES
from tl_toolkit.io.reader_threads import reading
from tl_toolkit.io.remote_files import RemoteFiles

MAX_OPEN = 8
"""Tar files that each thread of a process keeps open."""


@dataclass(frozen=True)
class TarFile:
    """A tar file, on this machine or elsewhere.

    Attributes:
        path: The file, or its URL.
        size: Its bytes when it was indexed; 0 if they are not known.
        mtime_ns: Its time of modification then; 0 for a URL.
        validator: What changes when the file at a URL does.
        remote: The cache that fetches a URL.
    """

    path: str
    size: int
    mtime_ns: int
    validator: str = ""
    remote: RemoteFiles | None = field(default=None, compare=False, repr=False)

    @classmethod
    def of(cls, path: Path) -> "TarFile":
        """Return a file as it is now."""
        status = path.stat()
        return cls(os.path.abspath(path), status.st_size, status.st_mtime_ns)  # noqa: PTH100  # A link stays one.

    @property
    def identity(self) -> str:
        """A text that changes when the file does."""
        return "\0".join([self.path, self.validator or f"{self.size}", f"{self.mtime_ns}"])

    def open(self) -> int:
        """Return a descriptor of the file, which is fetched first if it is elsewhere.

        Raises:
            OSError: It cannot be opened, or is not the one that was indexed.
            DownloadError: It cannot be fetched.
        """
        flags = os.O_RDONLY | getattr(os, "O_BINARY", 0)
        if self.remote is None:
            with reading(self.path):
                descriptor = os.open(self.path, flags)
        else:
            try:
                descriptor = os.open(self.remote.fetch(self.path), flags)
            except FileNotFoundError:  # Another process needed the room just then.
                descriptor = os.open(self.remote.fetch(self.path), flags)
        status = os.fstat(descriptor)
        changed = self.size not in (0, status.st_size) or self.mtime_ns not in (0, status.st_mtime_ns)
        if changed:
            os.close(descriptor)
            raise OSError(f"{self.path} changed since it was indexed; start again")
        return descriptor


class TarImages(ImageSet):
    """Images in tar files.

    Args:
        files: The tar files.
        file: Number of each image's file.
        offset: Where each image begins in it, in bytes.
        size: Bytes of each image.
        names: What messages call each image, and a seed splits by.
        by_shard: Whether training is to read a few files at a time; see `ImageSet.shards`.
    """

    are_encoded = True

    def __init__(
        self,
        files: Sequence[TarFile],
        file: np.ndarray,
        offset: np.ndarray,
        size: np.ndarray,
        names: Sequence[str],
        by_shard: bool = False,
    ) -> None:
        self.files = files
        self.file, self.offset, self.sizes = file, offset, size
        self.names = names
        self.by_shard = by_shard

    def __len__(self) -> int:
        return len(self.names)

    def read(self, index: int) -> ImageLike:
        file, offset, size = self.files[self.file[index]], int(self.offset[index]), int(self.sizes[index])
        try:
            content: bytes = _handles.read(file, offset, size)
        except OSError as error:
            raise OSError(f"{file.path}: {error.strerror}" if error.strerror else str(error)) from error
        return content

    def name(self, index: int) -> str:
        return self.names[index]

    def fingerprint(self, index: int) -> bytes | None:
        text = f"{self.files[self.file[index]].identity}\0{self.offset[index]}\0{self.sizes[index]}"
        return blake2b(text.encode("utf-8", "surrogateescape"), digest_size=IDENTITY_BYTES).digest()

    def size(self, index: int) -> int | None:
        return int(self.sizes[index])

    def read_ahead(self, indices: Sequence[int]) -> None:
        files = [self.files[number] for number in np.unique(self.file[np.asarray(indices, np.int64)])]
        if files and files[0].remote is not None:
            files[0].remote.read_ahead([file.path for file in files])

    def content_hash(self, index: int) -> bytes | None:
        try:
            return fingerprint_image(self.read(index))
        except (OSError, RemoteFileError):
            return None

    @property
    def shards(self) -> Sequence[int] | None:
        return self.file.tolist() if self.by_shard else None

    def subset(self, indices: Sequence[int]) -> "TarImages":
        at = np.asarray(indices, np.int64)
        names = [self.names[index] for index in indices]
        return TarImages(self.files, self.file[at], self.offset[at], self.sizes[at], names, self.by_shard)

    def __add__(self, other: ImageSet) -> ImageSet:
        if not (isinstance(other, TarImages) and other.files is self.files):
            return super().__add__(other)
        return TarImages(
            self.files,
            np.concatenate([self.file, other.file]),
            np.concatenate([self.offset, other.offset]),
            np.concatenate([self.sizes, other.sizes]),
            [*self.names, *other.names],
            self.by_shard,
        )


class _Handle:
    """An open file, closed when nothing refers to it any more."""

    def __init__(self, file: TarFile) -> None:
        self.descriptor = -1
        self.descriptor = file.open()

    def __del__(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)

    def read(self, offset: int, size: int) -> bytes:
        if hasattr(os, "pread"):
            return os.pread(self.descriptor, size, offset)
        os.lseek(self.descriptor, offset, os.SEEK_SET)  # On Windows, where no process shares a handle.
        return os.read(self.descriptor, size)


class _Handles(threading.local):
    """The files that a thread has open: threads share none, so that none waits for another or closes its file."""

    def __init__(self) -> None:
        self._open: OrderedDict[TarFile, _Handle] = OrderedDict()

    def read(self, file: TarFile, offset: int, size: int) -> bytes:
        handle = self._open.get(file)
        if handle is None:
            handle = self._open[file] = _Handle(file)
            if len(self._open) > MAX_OPEN:
                self._open.popitem(last=False)
        self._open.move_to_end(file)
        with reading(file.path):
            content = handle.read(offset, size)
            while 0 < len(content) < size and (more := handle.read(offset + len(content), size - len(content))):
                content += more  # A read may be cut short at 2 GiB, or by a signal.
        if len(content) < size:
            raise OSError(f"{file.path} ends within it")
        return content


_handles: Any = _Handles()
