"""Weights in torch.hub's cache, fetched where they are not there."""

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
"""torch.hub's convention: the file name ends in the first digits of its SHA-256 (torch/hub.py)."""


def hash_in_name(name: str) -> str | None:
    """The first digits of the SHA-256 that a file's name ends in, if it does."""
    match = HASH_IN_NAME.search(name)
    return match.group(1) if match else None


def cached_download(url: str, progress: ProgressCallback | None, sha256: str | None = None) -> Path:
    """The file in torch.hub's cache, fetched if it is not there, its hash checked either way.

    Args:
        url: Where it is.
        progress: Told how far it is.
        sha256: The expected hash, or its first digits; by default those at the end of the file's name.

    Raises:
        WeightsError: It can be had from neither; the message says where to put it.
    """
    expected = sha256 or hash_in_name(_name(url))
    if expected is None:
        say = named("weights", "FILE")
        raise WeightsError(f"{url} has no hash in its name; download it yourself and say {say}.")
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
    """Where torch.hub's cache keeps the file of a URL.

    Args:
        url: Where it is.
        expected: First digits of its SHA-256; needed where its name does not end in them.
    """
    name = _name(url)
    if expected and hash_in_name(name) is None:  # Files of one name from two places must not be confused.
        name = f"{Path(name).stem}-{expected[:8]}{Path(name).suffix}"
    return Path(torch.hub.get_dir()) / "checkpoints" / name


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _name(url: str) -> str:
    return Path(urllib.parse.unquote(urllib.parse.urlsplit(url).path)).name
