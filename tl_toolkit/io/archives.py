"""Safe unpacking of archives: nothing is written outside of the folder, and sizes are limited."""

import bz2
import contextlib
import gzip
import lzma
import posixpath
import secrets
import shutil
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO, Any, Self

from tl_toolkit.errors import DataError
from tl_toolkit.io.files import format_size

MAX_MEMBERS = 300_000
"""Files and folders in an archive. Of the archives of `tl data get`, Food-101 has most: 101,000."""

MAX_BYTES = 64 * 2**30
"""Unpacked size of all files together, more than any of these archives has."""

MAX_HEADER_BYTES = 2**20
"""Size of a tar header that is read into memory, such as a long name."""

READ_INTO_MEMORY = (
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
)

MAX_PARTS = 64
"""Depth of nested folders: removing a folder recurses into them."""

CHUNK_BYTES = 2**20

OPENERS: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
"""For compressed files that are not archives, by suffix."""


def unpack_tar(archive: Path, folder: Path, compression: str | None = None) -> None:
    """Unpack the regular files and folders of a tar archive into a folder, and copies instead of links.

    `compression` is ".gz", ".bz2", ".xz" or None.

    Raises:
        DataError: The archive is damaged or unsafe. Nothing is kept.
    """
    mode: Any = f"r:{compression[1:]}" if compression else "r:"
    with _unpacking(archive, folder) as unpacked, tarfile.open(archive, mode, tarinfo=BoundedHeader) as tar:
        links: list[tuple[str, str]] = []
        for member in tar:
            unpacked.count()
            if member.isdir():
                unpacked.add_folder(member.name)
            elif member.isreg() and not member.issparse() and (source := tar.extractfile(member)):
                unpacked.add_file(member.name, source)
            elif member.islnk():
                links.append((member.name, member.linkname))
            elif member.issym():
                links.append((member.name, posixpath.join(posixpath.dirname(member.name), member.linkname)))
            else:
                raise DataError(f"it holds {member.name!r}, which is not a regular file, folder or link")
        for name, target in links:  # Their targets may come later.
            unpacked.add_copy(name, target)


def unpack_zip(archive: Path, folder: Path) -> None:
    """Unpack the regular files and folders of a zip archive into a folder.

    Raises:
        DataError: The archive is damaged or unsafe. Nothing is kept.
    """
    with _unpacking(archive, folder) as unpacked, zipfile.ZipFile(archive) as opened:
        for member in opened.infolist():
            unpacked.count()
            kind = stat.S_IFMT(member.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise DataError(f"it holds {member.filename!r}, which is not a regular file or folder")
            if member.is_dir():
                unpacked.add_folder(member.filename)
            else:
                with opened.open(member) as source:
                    unpacked.add_file(member.filename, source)


def decompress(packed: Path, folder: Path) -> Path:
    """Decompress a file with a suffix of `OPENERS` into a folder.

    Returns:
        The written file, without the suffix.

    Raises:
        DataError: The file is damaged or too large. Nothing is kept.
    """
    with _unpacking(packed, folder) as unpacked, OPENERS[packed.suffix](packed, "rb") as source:
        unpacked.add_file(packed.stem, source)
    return folder / packed.stem


@dataclass
class _Unpacked:
    """A folder that is being filled, with limits. It holds no links, so that names within it are places within it."""

    folder: Path
    members: int = 0
    size: int = 0

    def count(self) -> None:
        """Count a member of any kind."""
        self.members += 1
        if self.members > MAX_MEMBERS:
            raise DataError(f"it holds more than {MAX_MEMBERS:,} files and folders")

    def add_folder(self, name: str) -> None:
        """Add a folder, which may exist."""
        self._place(name).mkdir(parents=True, exist_ok=True)

    def add_file(self, name: str, source: IO[bytes]) -> None:
        """Add a file, counting its bytes as they come, whatever a header says."""
        place = self._place(name)
        place.parent.mkdir(parents=True, exist_ok=True)
        if place.exists():
            raise DataError(f"it holds {name!r} twice")
        with place.open("xb") as file:
            while chunk := source.read(CHUNK_BYTES):
                self.size += len(chunk)
                if self.size > MAX_BYTES:
                    raise DataError(f"its files take more than {format_size(MAX_BYTES)}")
                file.write(chunk)

    def add_copy(self, name: str, target: str) -> None:
        """Add a copy of an unpacked file, instead of a link to it."""
        original = self._place(posixpath.normpath(target), f"{name!r}, a link to {target!r}")
        if not original.is_file():
            raise DataError(f"it holds {name!r}, a link to {target!r}, which is not a file in it")
        with original.open("rb") as source:
            self.add_file(name, source)

    def _place(self, name: str, what: str = "") -> Path:
        """Return the path of a member; the name is a POSIX path, and must not mean another one on Windows."""
        path = PurePosixPath(name)
        parts = (*path.parts, *PureWindowsPath(name).parts)
        if ".." in parts or path.is_absolute() or "\\" in name or "\0" in name or PureWindowsPath(name).anchor:
            raise DataError(f"it holds {what or repr(name)}, which leads out of the folder")
        if len(path.parts) > MAX_PARTS:
            raise DataError(f"it holds folders within each other, more than {MAX_PARTS} deep")
        return self.folder / path


class BoundedHeader(tarfile.TarInfo):
    """A header of limited size, if tarfile reads its content into memory."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        """Parse the header of a block.

        Raises:
            DataError: It is too large.
        """
        header = super().frombuf(buf, encoding, errors)
        if header.type in READ_INTO_MEMORY and header.size > MAX_HEADER_BYTES:
            raise DataError(f"it has a header of {format_size(header.size)}")
        return header


@contextlib.contextmanager
def _unpacking(archive: Path, folder: Path) -> Iterator[_Unpacked]:
    """Yield a temporary folder within `folder`, whose content moves into `folder` when the block succeeds."""
    temporary = folder / f".{archive.name}.{secrets.token_hex(4)}.tmp"
    try:
        temporary.mkdir(parents=True)
        yield _Unpacked(temporary)
        for path in temporary.iterdir():
            _move(path, folder / path.name)
    except Exception as error:  # Damaged archives raise errors of every type.
        reason = str(error).strip() or type(error).__name__
        raise DataError(f"{archive} is not unpacked: {reason}. Nothing was kept.") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _move(source: Path, target: Path) -> None:
    """Move a file or folder; merge it into an existing folder."""
    if source.is_dir() and target.is_dir():
        for path in source.iterdir():
            _move(path, target / path.name)
    else:
        source.replace(target)
