"""Digests by which files and pixels are recognised, without decoding them."""

import os
from hashlib import blake2b
from pathlib import Path

from tl_toolkit.io.reader_threads import begin_file, end_file

IDENTITY_BYTES = 16


def fingerprint_file(path: str | Path) -> bytes | None:
    """Return a digest of a file's path, size and modification time; None if it does not exist."""
    begin_file(path)
    try:
        status = os.stat(path)  # noqa: PTH116  # quicker, and there may be very many
    except OSError:
        return None
    finally:
        end_file()
    text = f"{os.path.abspath(path)}\0{status.st_size}\0{status.st_mtime_ns}"  # noqa: PTH100
    return blake2b(text.encode("utf-8", "surrogateescape"), digest_size=IDENTITY_BYTES).digest()


def fingerprint_content(content: bytes, what: str) -> bytes:
    """Return a digest of pixels in memory, and of a text with their type and shape."""
    return blake2b(content, digest_size=IDENTITY_BYTES, key=what.encode()[:64]).digest()
