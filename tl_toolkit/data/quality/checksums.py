"""Files that hold many images, compared with the checksums that were noted when they were written."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from tl_toolkit.errors import ImageError
from tl_toolkit.events import Callback, TaskProgress
from tl_toolkit.io.reader_threads import begin_file, readers, reading

CHUNK_BYTES = 2**22
CHUNK_FILES = 16
"""Files between two reports of the progress."""


def describe_changed_files(checksums: Mapping[str, str], callback: Callback) -> list[str]:
    """Return a sentence for each file whose bytes are not those that were written.

    Args:
        checksums: SHA-256 by path, hexadecimal.
        callback: Called with the progress.
    """
    found = []
    paths = list(checksums)
    for done in range(0, len(paths), CHUNK_FILES):
        chunk = paths[done : done + CHUNK_FILES]
        for path, digest in zip(chunk, readers().start(_digest, chunk).outcomes(), strict=True):
            if isinstance(digest, ImageError):
                found.append(f"{path} cannot be read: {digest.reason}.")
            elif digest != checksums[path]:
                found.append(
                    f"{path} is not as it was written: its SHA-256 is {digest[:16]}..., and {checksums[path][:16]}... "
                    "was noted. Copy it again from where it was packed."
                )
        callback(TaskProgress("checksums", done + len(chunk), len(paths), "files"))
    return found


def _digest(path: str) -> str:
    digest = hashlib.sha256()
    try:
        with reading(path), Path(path).open("rb") as file:
            while block := file.read(CHUNK_BYTES):
                begin_file(path)  # It answers.
                digest.update(block)
    except OSError as error:
        raise ImageError(path, error.strerror or str(error)) from error
    return digest.hexdigest()
