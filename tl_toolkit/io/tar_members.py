"""Where the members of a tar file lie in it, read from its headers alone."""

import os
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from tl_toolkit.errors import DataError
from tl_toolkit.io.archives import BoundedHeader
from tl_toolkit.io.reader_threads import begin_file, reading

ENDING = ".tar"
COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst", ".tzst")
MAGIC = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd"}
"""How compressed files begin."""

UNPACK = (
    "Only plain .tar files can be read at any place: unpack it with `gzip -d`, `bzip2 -d`, `xz -d` or `zstd -d`. "
    "Images are compressed already."
)


@dataclass(frozen=True, slots=True)
class TarMember:
    """A file in a tar file.

    Attributes:
        name: Its path.
        offset: Where its content begins, in bytes.
        size: Bytes of its content.
        content: The content of a member that was asked for, else None.
    """

    name: str
    offset: int
    size: int
    content: bytes | None = None


def read_members(path: Path, with_content: Callable[[str, int], bool], place: str | None = None) -> Iterator[TarMember]:
    """Yield the files of a tar file, of any of the formats that Python's tarfile reads; folders are passed over.

    Args:
        path: The file.
        with_content: Whether to read the content of a member of this name and size too.
        place: What errors call the file; by default its path.

    Raises:
        DataError: The file is no tar file, is compressed, is cut short or is damaged.
    """
    place = place or str(path)
    with reading(path):
        try:
            with path.open("rb") as file, tarfile.open(fileobj=file, mode="r:", tarinfo=BoundedHeader) as archive:
                yield from _walk(place, file, archive, with_content)
        except (tarfile.TarError, EOFError, ValueError, OverflowError) as error:
            raise DataError(_what_it_is(path, place, error)) from error
        except DataError as error:  # Of a header says that it is too large, not where it is.
            raise DataError(str(error) if place in str(error) else f"{place} is damaged: {error}.") from error
        except OSError as error:
            raise DataError(f"Cannot read {place}: {error.strerror or error}.") from error


def _walk(
    place: str, file: IO[bytes], archive: tarfile.TarFile, with_content: Callable[[str, int], bool]
) -> Iterator[TarMember]:
    size = os.fstat(file.fileno()).st_size
    while (member := archive.next()) is not None:
        begin_file(place)  # It answered.
        archive.members.clear()  # type: ignore[attr-defined]  # Of a million members they would take a gigabyte.
        if member.issparse():
            raise DataError(
                f"{place} stores {member.name} as a sparse file, in pieces. Write it with plain `tar --format=pax -cf`."
            )
        if member.islnk() or member.issym():
            raise DataError(
                f"{place} stores {member.name} as a link to {member.linkname}. Write it with `tar --dereference "
                "--hard-dereference -cf`, which stores the files themselves."
            )
        if not member.isfile():
            continue
        end = member.offset_data + member.size
        if end > size:
            raise DataError(
                f"{place} is cut short: {member.name} ends at byte {end:,}, and the file has {size:,}. Copy it again."
            )
        content = None
        if with_content(member.name, member.size):
            file.seek(member.offset_data)
            content = file.read(member.size)
        yield TarMember(member.name, member.offset_data, member.size, content)
    _check_end(place, file, archive.offset, size)


def _check_end(place: str, file: IO[bytes], end: int, size: int) -> None:
    """Refuse a file that does not end where tarfile stopped: it stops at a header that it cannot read, too.

    Raises:
        DataError: The file is cut short, is damaged or goes on.
    """
    file.seek(end)
    block, rest = file.read(tarfile.BLOCKSIZE), file.read(tarfile.RECORDSIZE)
    if len(block) < tarfile.BLOCKSIZE:
        raise DataError(
            f"{place} is cut short: it ends at byte {size:,} without the empty block that ends a tar file. Copy it "
            "again."
        )
    if block.strip(b"\0"):
        raise DataError(f"{place} is damaged: there is no header of a file at byte {end:,}. Copy it again.")
    if rest.strip(b"\0"):
        raise DataError(
            f"{place} goes on after its end, at byte {end + tarfile.BLOCKSIZE:,}: several tar files one after the "
            "other are read as the first alone. Keep them apart, or join them with `tar --concatenate`."
        )


def _what_it_is(path: Path, place: str, error: Exception) -> str:
    """Return why a file cannot be read as tar."""
    with path.open("rb") as file:
        head = file.read(tarfile.BLOCKSIZE)
    if not head:
        return f"{place} is empty. Copy it again."
    if compressed := [name for magic, name in MAGIC.items() if head.startswith(magic)]:
        return f"{place} is compressed with {compressed[0]}. {UNPACK}"
    return f"{place} is no tar file, or is damaged ({error}). Expected tar files of images and labels."
