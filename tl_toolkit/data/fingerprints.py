"""Fingerprints of images by their contents, for a model file's record of what it learned from."""

from pathlib import Path

import torch

from tl_toolkit.data.quality.duplicates import digest_of_file
from tl_toolkit.data.quality.readability import FileCache
from tl_toolkit.data.samples import Samples
from tl_toolkit.io.reader_threads import call_with_stall_guard, readers, reading
from tl_toolkit.model_file import FINGERPRINT_BYTES


def digest_cache(folder: Path) -> FileCache:
    """Return the cache of digests of whole files."""
    return FileCache(folder, {"what": "contents"}, "digests of image files", torch.uint8)


def content_fingerprints(samples: Samples, cache: FileCache | None = None) -> list[bytes | None]:
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
    # Of pixels this is quick; encoded images are read for it, like files.
    encoded = [index for index in range(len(samples)) if index not in files] if samples.are_encoded else []
    digests = _digests(samples, files, encoded, cache)
    contents = (digests[i] if i in digests else samples.images.content_hash(i) for i in range(len(samples)))
    return [content[:FINGERPRINT_BYTES] if content else None for content in contents]


def _digests(
    samples: Samples, files: dict[int, str], encoded: list[int], cache: FileCache | None
) -> dict[int, bytes | None]:
    """Return digests of whole files and of encoded images, from the cache or by reading them.

    Args:
        samples: The images.
        files: Path by index.
        encoded: Indices of encoded images.
        cache: Digests that are known; new ones are added.

    Returns:
        None for what cannot be read.
    """

    def read(index: int) -> bytes | None:
        return _read_digest(files[index]) if index in files else samples.images.content_hash(index)

    indices = [*files, *encoded]
    identities = call_with_stall_guard(samples.identities) if cache and indices else []
    found = {index: row.numpy().tobytes() for index, row in cache.find(identities).items()} if cache else {}
    new = [index for index in indices if index not in found]
    outcomes = readers().start(read, new).outcomes()
    known = {index: digest for index, digest in zip(new, outcomes, strict=True) if isinstance(digest, bytes)}
    if cache:
        cache.add({identity: list(digest) for index, digest in known.items() if (identity := identities[index])})
    return dict.fromkeys(indices) | found | known


def _read_digest(path: str) -> bytes | None:
    """Return the digest of a file; None for a pipe or a device, which may never end."""
    with reading(path):
        return digest_of_file(path) if Path(path).is_file() else None
