"""Fingerprints of images by their contents, for a model file's note of what it learned from."""

import contextlib
from pathlib import Path

import numpy as np
import torch

from tl_toolkit.data.images import fingerprint_image, is_path
from tl_toolkit.data.quality.duplicates import digest_of_file, noted_content
from tl_toolkit.data.samples import Samples
from tl_toolkit.errors import ToolkitError
from tl_toolkit.io.reader_threads import call_with_stall_guard, readers, reading
from tl_toolkit.io.row_cache import IDENTITY_BYTES, RowCache
from tl_toolkit.model_file import FINGERPRINT_BYTES


class KnownContents:
    """Digests of the files that earlier runs read, so that files which are still the same are not read again.

    Args:
        folder: The cache.
    """

    def __init__(self, folder: Path) -> None:
        self._store = RowCache(folder, {"what": "contents"}, "digests of image files")

    def find(self, identities: list[bytes | None]) -> dict[int, bytes]:
        """The digests that are known, by the place of the identity."""
        part, row = self._store.find(identities)
        places = np.flatnonzero(part >= 0)
        return {int(at): self._store.parts[part[at]].rows[row[at]].numpy().tobytes() for at in places}

    def add(self, digests: dict[bytes, bytes]) -> None:
        """Writes digests by identity. Where they cannot be written, the next run reads the files again."""
        if not digests:
            return
        rows = torch.from_numpy(np.frombuffer(b"".join(digests.values()), np.uint8).copy()).view(-1, IDENTITY_BYTES)
        with contextlib.suppress(ToolkitError):
            self._store.write(list(digests), rows)


def fingerprints(samples: Samples, known: KnownContents | None = None) -> list[bytes | None]:
    """A fingerprint of each image: of a file by its bytes, of pixels by all of them, their type and shape.

    Args:
        samples: Those of a lazy dataset have a fingerprint once they were read.
        known: Files that need not be read; what is read now is added.

    Returns:
        None for what cannot be read, and for all images where they may be others each time they are read.
    """
    if not samples.fixed:
        return [None] * len(samples)
    if not isinstance(samples.images, list):
        return [_short(noted_content(samples.images, index)) for index in range(len(samples))]
    files = {index: image for index, image in enumerate(samples.images) if is_path(image)}
    digests = _digests(samples, files, known)
    return [
        _short(digests.get(index) if index in files else fingerprint_image(image))
        for index, image in enumerate(samples.images)
    ]


def _digests(samples: Samples, files: dict[int, str | Path], known: KnownContents | None) -> dict[int, bytes | None]:
    """Digests of whole files, those that are not known read now."""
    if known is None or not files:
        return _read_digests(files)
    identities = call_with_stall_guard(samples.identities)
    found = known.find(identities)
    read = _read_digests({index: path for index, path in files.items() if index not in found})
    known.add({identity: digest for index, digest in read.items() if (identity := identities[index]) and digest})
    return {**found, **read}


def _read_digests(files: dict[int, str | Path]) -> dict[int, bytes | None]:
    """Digests of whole files; None for what cannot be read or does not answer."""
    outcomes = readers().start(_read_digest, list(files.values())).outcomes()
    return {index: digest if isinstance(digest, bytes) else None for index, digest in zip(files, outcomes, strict=True)}


def _read_digest(path: str | Path) -> bytes | None:
    """That of a file; None for a pipe or a device, which may never end."""
    with reading(path):
        return digest_of_file(path) if Path(path).is_file() else None


def _short(digest: bytes | None) -> bytes | None:
    return digest[:FINGERPRINT_BYTES] if digest else None
