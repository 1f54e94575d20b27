"""Weights in torch.hub's cache, downloaded if missing."""

import hashlib
import re
import urllib.parse
from pathlib import Path

import torch

from tl_toolkit.errors import DownloadError, WeightsError
from tl_toolkit.io.download import ProgressCallback, download
from tl_toolkit.io.files import is_file
from tl_toolkit.text import named

HASH_IN_NAME = re.compile(r"-([0-9a-f]{8,64})\.(?:pth|pt|safetensors|bin|npz)$")
"""By torch.hub's convention a file name ends in the first digits of its SHA-256 (torch/hub.py)."""


def hash_in_name(name: str) -> str | None:
    """Return the first digits of the SHA-256 at the end of a file's name, if it has them."""
    match = HASH_IN_NAME.search(name)
    return match.group(1) if match else None


def cached_download(url: str, progress: ProgressCallback | None, sha256: str | None = None) -> Path:
    """Return a file in torch.hub's cache, downloaded if missing, with its hash checked either way.

    Args:
        url: URL of the file.
        progress: Receives the progress of the download.
        sha256: The expected hash, or its first digits; by default those at the end of the file's name.

    Raises:
        WeightsError: The file is neither there nor downloadable; the message says where to put it.
    """
    expected = sha256 or hash_in_name(_name(url))
    if expected is None:
        raise WeightsError(f"{url} has no hash in its name; download it yourself and say {named('weights', 'FILE')}.")
    path = cache_path(url, expected)
    if is_file(path):
        if not file_sha256(path).startswith(expected):
            raise WeightsError(
                f"{path} is damaged: its SHA-256 does not begin with {expected}. Delete it and try again."
            )
        return path
    try:
        download(url, path, expected, progress)
    except DownloadError as error:
        raise WeightsError(
            f"{path.name} is not in the cache, and {error}\n"
            f"Put the file of {url} at {path}, or choose {named('weights', 'FILE')}, bundled (resnet18 only) or none."
        ) from error
    return path


def cache_path(url: str, expected: str = "") -> Path:
    """Return the path of a URL's file in torch.hub's cache.

    Args:
        url: URL of the file.
        expected: First digits of its SHA-256; needed if its name does not end in them.
    """
    name = _name(url)
    if expected and hash_in_name(name) is None:  # Two URLs may have files of the same name.
        name = f"{Path(name).stem}-{expected[:8]}{Path(name).suffix}"
    return Path(torch.hub.get_dir()) / "checkpoints" / name


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _name(url: str) -> str:
    return Path(urllib.parse.unquote(urllib.parse.urlsplit(url).path)).name
