"""Writing tar files whose bytes depend on their content alone."""

import hashlib
import os
import tarfile
from pathlib import Path
from types import TracebackType
from typing import Self

MODE = 0o644


def member_bytes(size: int) -> int:
    """Return the bytes that a member takes in a tar file, with its header, unless its name is long."""
    return tarfile.BLOCKSIZE + -(-size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE


class TarWriter:
    """A tar file that is written: without times, owners and permissions, which differ between machines.

    Args:
        path: The file.

    Attributes:
        path: The file.
        size: Bytes written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = 0
        self._digest = hashlib.sha256()
        self._file = path.open("xb")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file, finished or not."""
        self._file.close()

    @property
    def sha256(self) -> str:
        """Digest of the bytes that were written, hexadecimal."""
        return self._digest.hexdigest()

    def add(self, name: str, content: bytes) -> int:
        """Add a file, and return where its content begins.

        Raises:
            OSError: The disk is full, or cannot be written.
        """
        member = tarfile.TarInfo(name)
        member.size, member.mode = len(content), MODE
        self._write(member.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape"))
        offset = self.size
        self._write(content)
        self._write(bytes(-self.size % tarfile.BLOCKSIZE))
        return offset

    def finish(self) -> None:
        """Write the end of the file, to the disk itself.

        Raises:
            OSError: The disk is full, or cannot be written.
        """
        self._write(bytes(2 * tarfile.BLOCKSIZE))
        self._write(bytes(-self.size % tarfile.RECORDSIZE))
        self._file.flush()
        os.fsync(self._file.fileno())

    def _write(self, content: bytes) -> None:
        self._file.write(content)
        self._digest.update(content)
        self.size += len(content)
