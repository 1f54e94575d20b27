"""The kind of a file by its content, whatever its name."""

import re
import zipfile
from pathlib import Path
from typing import Literal

from PIL import Image

from tl_toolkit.errors import ModelFileError

Kind = Literal["safetensors", "torch"]

HEAD_BYTES = 4096
LENGTH_BYTES = 8
MAX_HEADER_BYTES = 100_000_000
"""Longest header that safetensors accepts."""

ZIP, TAR, TAR_AT = b"PK\x03\x04", b"ustar", 257
PICKLE = re.compile(rb"\x80[\x02-\x05]")
FIRST_OF_TORCH = re.compile(rb".{26}[^/]*/(data\.pkl|data/0)", re.DOTALL)
"""Beginning of torch.save's archives after ZIP, for files that are cut off before their list of members."""

MAX_UNCERTAIN_BYTES = 8
"""Bytes that say nothing: any file may begin with so few."""

OTHERS = {
    b"%PDF": "a PDF document",
    b"\x1f\x8b": "a gzip archive",
    b"7z\xbc\xaf": "a 7z archive",
    b"\x89HDF": "an HDF5 file, as Keras writes it",
    b"GGUF": "a GGUF file",
    ZIP: "a zip archive",
}
"""Other kinds of files by their first bytes."""


def kind_of(path: Path) -> Kind | None:
    """Return the kind of a file that can hold weights, damaged or not; None for other files.

    Raises:
        ModelFileError: The file cannot be read.
    """
    head = _head(path)
    if head[LENGTH_BYTES : LENGTH_BYTES + 1] == b"{":
        if 0 < int.from_bytes(head[:LENGTH_BYTES], "little") <= MAX_HEADER_BYTES:
            return "safetensors"
    elif head.startswith(ZIP):
        return "torch" if _is_of_torch(path, head) else None
    return "torch" if PICKLE.match(head) or head.startswith(TAR, TAR_AT) else None


def describe_other(path: Path) -> str:
    """Return what a file without weights is, with an article; empty if unknown.

    Raises:
        ModelFileError: The file cannot be read.
    """
    head = _head(path)
    if len(head) <= MAX_UNCERTAIN_BYTES:
        return ""
    for beginning, name in OTHERS.items():
        if head.startswith(beginning):
            return name
    if image := _image_format(path):
        return f"an image ({image})"
    return "a text file" if _is_text(head) else ""


def describe_unknown(path: Path) -> str:
    """Return why a file is of no known kind, and what to do about it.

    Raises:
        ModelFileError: The file cannot be read.
    """
    first = _head(path)[:LENGTH_BYTES].hex(" ")
    found = f"begins with the bytes {first}, as neither of them does" if first else "is empty"
    return (
        f"expected a safetensors file or one of torch.save, but it {found}. If it was one, copy it again from where it "
        "is whole"
    )


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(HEAD_BYTES)
    except OSError as error:
        raise ModelFileError(f"{path} cannot be read: {error.strerror}.") from error


def _is_of_torch(path: Path, head: bytes) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith("/data.pkl") for name in archive.namelist())
    except Exception:  # noqa: BLE001  # Damaged archives raise errors of many types.
        return FIRST_OF_TORCH.match(head, len(ZIP)) is not None


def _image_format(path: Path) -> str:
    """Return Pillow's name of an image's format; empty for other files."""
    try:
        with Image.open(path) as image:
            return image.format or ""
    except Exception:  # noqa: BLE001  # Other files raise errors of any type.
        return ""


def _is_text(head: bytes) -> bool:
    """Return whether bytes are UTF-8 without control characters; the last character may be incomplete."""
    text = head.decode("utf-8", "ignore")
    rest = len(head) - len(text.encode())
    return rest < 4 and all(character.isprintable() or character in "\t\n\r\f" for character in text)
