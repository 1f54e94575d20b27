"""What a target is, and what several targets need."""

import atexit
import contextlib
import functools
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tl_toolkit.errors import ToolkitError

METADATA_FORM, RAW_FORM = b"m", b"r"
"""First byte of what a safetensors target is given: metadata, to which true tensors are added, or all bytes."""

LENGTH_BYTES = 8


@dataclass(frozen=True)
class Target:
    """Something to fuzz.

    Attributes:
        run: A function of bytes that ends well or with a ToolkitError.
        seeds: What mutations begin with.
        json_after: The number of bytes before a JSON text in the data; None where there is none.
    """

    run: Callable[[bytes], None]
    seeds: Callable[[], list[bytes]]
    json_after: int | None = None


@functools.cache
def own_folder() -> Path:
    """Return a folder of this process, which is removed at its end."""
    folder = tempfile.mkdtemp(prefix="tl-fuzz-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


def write_file(name: str, data: bytes) -> Path:
    path = own_folder() / f"{os.getpid()}-{name}"
    path.write_bytes(data)
    return path


@contextlib.contextmanager
def only_toolkit_errors() -> Iterator[None]:
    """Take a ToolkitError with a message that can be shown for a good end of the block."""
    try:
        yield
    except ToolkitError as error:
        assert str(error).strip()
        assert len(str(error)) < 20_000


def metadata_in_layers(metadata: dict[str, str]) -> dict[str, Any]:
    """Return metadata with objects in place of JSON text, so that mutations reach them."""
    inner = ("class_names", "input_spec", "metrics", "arch_options", "split_note")
    return {name: json.loads(value) if name in inner else value for name, value in metadata.items()}


def header_of(file: bytes) -> bytes:
    return file[LENGTH_BYTES : LENGTH_BYTES + int.from_bytes(file[:LENGTH_BYTES], "little")]


def whole_file(data: bytes, file: Callable[[], bytes]) -> bytes:
    """Return the bytes as they are, or a true file with other metadata: the values of a JSON object, as text."""
    if data[:1] != METADATA_FORM:
        return data[1:]
    header = json.loads(header_of(file()))
    try:
        given = json.loads(data[1:])
    except (ValueError, RecursionError):
        given = data[1:].decode("utf-8", "replace")
    values = given if isinstance(given, dict) else {"format": given}
    metadata = {name: value if isinstance(value, str) else json.dumps(value) for name, value in values.items()}
    said = json.dumps({**header, "__metadata__": metadata}).encode()
    return len(said).to_bytes(LENGTH_BYTES, "little") + said + file()[LENGTH_BYTES + len(header_of(file())) :]
