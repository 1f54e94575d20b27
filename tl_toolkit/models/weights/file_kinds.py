"""The kind of a file by its content, whatever its name."""

import re
import zipfile
from pathlib import Path
from typing import Literal

from PIL import Image

from tl_toolkit.errors import ModelFileError

Kind = Literal["safetensors", "torch", "exported", "onnx"]
"""A safetensors file; one of torch.save, of torch.export.save (.pt2), of ONNX."""

HEAD_BYTES = 4096
LENGTH_BYTES = 8
MAX_HEADER_BYTES = 100_000_000
"""Longest header that safetensors accepts."""

ZIP, TAR, TAR_AT = b"PK\x03\x04", b"ustar", 257
PICKLE = re.compile(rb"\x80[\x02-\x05]")
FIRST_OF_TORCH = re.compile(rb".{26}[^/]*/(data\.pkl|data/0)", re.DOTALL)
"""Beginning of torch.save's archives after ZIP, for files that are cut off before their list of members."""

FIRST_OF_EXPORTED = re.compile(rb".{26}[^/]*/(data/weights/|archive_format)", re.DOTALL)
"""The same of torch.export.save's archives (torch/export/pt2_archive/constants.py)."""

ONNX = re.compile(rb"\x08[\x01-\x40][\x12\x1a\x22\x28\x32\x3a\x42\x72]")
"""Beginning of a ModelProto: a small version in field 1, then any other field of onnx.proto."""

PROGRAMS: dict[Kind, str] = {
    "exported": "a program of torch.export, which only predicts",
    "onnx": "an ONNX file, which only predicts",
}
"""Kinds of files with a network that does not train."""

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
    """Return the kind of a file that can hold a model, damaged or not; None for other files.

    Raises:
        ModelFileError: The file cannot be read.
    """
    head = _head(path)
    if head[LENGTH_BYTES : LENGTH_BYTES + 1] == b"{":
        if 0 < int.from_bytes(head[:LENGTH_BYTES], "little") <= MAX_HEADER_BYTES:
            return "safetensors"
    elif head.startswith(ZIP):
        return _kind_of_archive(path, head)
    if ONNX.match(head):
        return "onnx"
    return "torch" if PICKLE.match(head) or head.startswith(TAR, TAR_AT) else None


def describe_other(path: Path) -> str:
    """Return what a file without weights is, with an article; empty if unknown.

    Raises:
        ModelFileError: The file cannot be read.
    """
    head = _head(path)
    if len(head) <= MAX_UNCERTAIN_BYTES:
        return ""
    if program := PROGRAMS.get(kind_of(path) or "safetensors"):
        return program
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


def _kind_of_archive(path: Path, head: bytes) -> Kind | None:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except Exception:  # noqa: BLE001  # Damaged archives raise errors of many types.
        if FIRST_OF_EXPORTED.match(head, len(ZIP)):
            return "exported"
        return "torch" if FIRST_OF_TORCH.match(head, len(ZIP)) else None
    if any(name.endswith("/archive_format") for name in names):
        return "exported"
    return "torch" if any(name.endswith("/data.pkl") for name in names) else None


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
