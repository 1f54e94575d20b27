"""Fingerprints of images by their contents, for a model file's record of what it learned from."""

import contextlib
from pathlib import Path

import numpy as np
import torch

from tl_toolkit.data.quality.duplicates import digest_of_file
from tl_toolkit.data.samples import Samples
from tl_toolkit.errors import ToolkitError
from tl_toolkit.io.reader_threads import call_with_stall_guard, readers, reading
from tl_toolkit.io.row_cache import IDENTITY_BYTES, RowCache
from tl_toolkit.model_file import FINGERPRINT_BYTES


class DigestCache:
    """Digests of the files that earlier runs read, so that unchanged files are not read again.

    Args:
        folder: The cache.
    """

    def __init__(self, folder: Path) -> None:
        self._rows = RowCache(folder, {"what": "contents"}, "digests of image files")

    def find(self, identities: list[bytes | None]) -> dict[int, bytes]:
        """Return the known digests, by the place of the identity."""
        part, row = self._rows.find(identities)
        places = np.flatnonzero(part >= 0)
        return {int(at): self._rows.parts[part[at]].rows[row[at]].numpy().tobytes() for at in places}

    def add(self, digests: dict[bytes, bytes]) -> None:
        """Write digests by identity. If they cannot be written, the next run reads the files again."""
        if not digests:
            return
        rows = torch.from_numpy(np.frombuffer(b"".join(digests.values()), np.uint8).copy()).view(-1, IDENTITY_BYTES)
        with contextlib.suppress(ToolkitError):
            self._rows.write(list(digests), rows)


def content_fingerprints(samples: Samples, cache: DigestCache | None = None) -> list[bytes | None]:
    """Return a fingerprint of each image: of a file by its bytes, of pixels by their type, shape and values.

    Args:
        samples: Images of a dataset have a fingerprint once they were read.
        cache: Digests of files that need not be read; new ones are added.

    Returns:
        None for what cannot be read, and for all images if reading them again may give others.
    """
    if not samples.deterministic:
        return [None] * len(samples)
    paths = map(samples.images.path, range(len(samples)))
    files = {index: path for index, path in enumerate(paths) if path}
    digests = _digests(samples, files, cache)
    contents = (digests[i] if i in files else samples.images.content_hash(i) for i in range(len(samples)))
    return [content[:FINGERPRINT_BYTES] if content else None for content in contents]


def _digests(samples: Samples, files: dict[int, str], cache: DigestCache | None) -> dict[int, bytes | None]:
    """Return digests of whole files, from the cache or by reading them."""
    if cache is None or not files:
        return _read_digests(files)
    identities = call_with_stall_guard(samples.identities)
    found = cache.find(identities)
    read = _read_digests({index: path for index, path in files.items() if index not in found})
    cache.add({identity: digest for index, digest in read.items() if (identity := identities[index]) and digest})
    return {**found, **read}


def _read_digests(files: dict[int, str]) -> dict[int, bytes | None]:
    """Return digests of whole files; None for a file that cannot be read or does not answer."""
    outcomes = readers().start(_read_digest, list(files.values())).outcomes()
    return {index: digest if isinstance(digest, bytes) else None for index, digest in zip(files, outcomes, strict=True)}


def _read_digest(path: str) -> bytes | None:
    """Return the digest of a file; None for a pipe or a device, which may never end."""
    with reading(path):
        return digest_of_file(path) if Path(path).is_file() else None
