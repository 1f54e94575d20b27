"""The note beside an exported file, its name with ".json": what the file holds and where it is from."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tl_toolkit.errors import ModelFileError
from tl_toolkit.io.files import is_file

NOTE_ENDING = ".json"
"""What the name of the note adds to the file's own: `model.onnx.json`."""

NOTE_FORMAT = "tl_toolkit.export"


def note_path(path: Path) -> Path:
    """Return where the note of an exported file is."""
    return path.with_name(path.name + NOTE_ENDING)


def read_note(path: Path) -> Mapping[str, Any] | None:
    """Return the note beside a file; None if there is none.

    Args:
        path: The exported file.

    Raises:
        ModelFileError: The note is damaged, or is that of another file.
    """
    place = note_path(path)
    if not is_file(place):
        return None
    try:
        note = json.loads(place.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise ModelFileError(f"{place} cannot be read: {error}.") from error
    if not isinstance(note, dict) or note.get("note") != NOTE_FORMAT:
        return None
    if note.get("sha256") != (found := digest_of_file(path)):
        raise ModelFileError(
            f"{place} is the note of another file: it is of one with the SHA-256 {str(note.get('sha256'))[:12]}..., "
            f"{path.name} has {found[:12]}.... Copy both again from where they are whole, or export again."
        )
    return note


def digest_of_file(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
