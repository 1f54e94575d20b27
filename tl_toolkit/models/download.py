"""Downloading one file, checked by its hash before anything reads it."""

import hashlib
import re
import shutil
import ssl
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path
from typing import BinaryIO

import torch

from tl_toolkit.errors import ToolkitError, WeightsError
from tl_toolkit.files import atomic_file, is_file

TIMEOUT_SECONDS = 8.0
"""Longest wait for a connection or for the next bytes: being offline is said within ten seconds."""

CHUNK_BYTES = 1 << 20
HASH_IN_NAME = re.compile(r"-([0-9a-f]{8,64})\.(?:pth|pt|safetensors|bin|npz)$")
"""torch.hub's convention: the file name ends in the first digits of its SHA-256 (torch/hub.py)."""

LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")

Progress = Callable[[int, int | None], None]
"""Called with the bytes so far and, where known, the bytes in all."""


def hash_in_name(name: str) -> str | None:
    """The first digits of the SHA-256 that a file's name ends in, if it does."""
    match = HASH_IN_NAME.search(name)
    return match.group(1) if match else None


def download(url: str, destination: Path, sha256: str, progress: Progress | None = None) -> None:
    """Fetches a file; it appears at `destination` only when it is whole and its hash is right.

    Args:
        url: https, or http on this machine.
        destination: The file to write.
        sha256: The expected hash, or its first digits.
        progress: Told how far it is.

    Raises:
        WeightsError: The file cannot be fetched or is not the expected one.
    """
    _refuse_unprotected(url)
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        _fetch(url, destination, sha256, progress)
    except OSError as error:
        raise WeightsError(f"{url} cannot be kept in {destination.parent} ({error.strerror or error}).") from error
    except WeightsError:
        raise
    except ToolkitError as error:
        raise WeightsError(f"{url} cannot be kept: {error}") from error


def cached_download(url: str, progress: Progress | None, sha256: str | None = None) -> Path:
    """The file in torch.hub's cache, fetched if it is not there, its hash checked either way.

    Args:
        url: Where it is.
        progress: Told how far it is.
        sha256: The expected hash, or its first digits; by default those at the end of the file's name.

    Raises:
        WeightsError: It can be had from neither; the message says where to put it.
    """
    name = Path(urllib.parse.unquote(urllib.parse.urlsplit(url).path)).name
    expected = sha256 or hash_in_name(name)
    if expected is None:
        raise WeightsError(f"{url} has no hash in its name; download it yourself and say --weights FILE.")
    if hash_in_name(name) is None:  # Files of one name from two places must not be taken for each other.
        name = f"{Path(name).stem}-{expected[:8]}{Path(name).suffix}"
    path = Path(torch.hub.get_dir()) / "checkpoints" / name
    if is_file(path):
        if not file_sha256(path).startswith(expected):
            raise WeightsError(
                f"{path} is damaged: its SHA-256 does not begin with {expected}. Delete it and try again."
            )
        return path
    try:
        download(url, path, expected, progress)
    except WeightsError as error:
        raise WeightsError(
            f"{name} is not in the cache, and {error}\n"
            f"Put the file of {url} at {path}, or choose --weights FILE, bundled (resnet18 only) or none."
        ) from error
    return path


def _fetch(url: str, destination: Path, sha256: str, progress: Progress | None) -> None:
    with atomic_file(destination) as temporary:
        try:
            request = urllib.request.Request(url)  # noqa: S310  # the scheme was checked
            with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as response, temporary.open("wb") as file:  # noqa: S310
                expected = response.headers.get("Content-Length")
                found = _copy(response, file, int(expected) if expected else None, progress)
        except urllib.error.HTTPError as error:
            raise WeightsError(f"{url} answered {error.code} {error.reason}.") from error
        except (urllib.error.URLError, HTTPException, TimeoutError, ConnectionError, ssl.SSLError) as error:
            reason = getattr(error, "reason", error)
            raise WeightsError(f"{url} cannot be reached ({reason}).") from error
        if not found.startswith(sha256):
            raise WeightsError(
                f"{url} is not the expected file: its SHA-256 begins {found[: len(sha256)]}, expected {sha256}. "
                "Nothing was kept."
            )


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _copy(source: BinaryIO, target: BinaryIO, expected: int | None, progress: Progress | None) -> str:
    """Copies everything, hashing it on the way.

    Raises:
        WeightsError: The source ended too early, or the disk is too small.
    """
    if expected is not None:
        free = shutil.disk_usage(Path(target.name).parent).free
        if free < expected:
            raise WeightsError(f"{expected:,} bytes are to be downloaded, but the disk has {free:,} free.")
    digest = hashlib.sha256()
    done = 0
    while chunk := source.read(CHUNK_BYTES):
        target.write(chunk)
        digest.update(chunk)
        done += len(chunk)
        if progress:
            progress(done, expected)
    if expected is not None and done < expected:
        raise WeightsError(f"The download broke off after {done:,} of {expected:,} bytes. Nothing was kept; try again.")
    return digest.hexdigest()


def _refuse_unprotected(url: str) -> None:
    parts = urllib.parse.urlsplit(url)
    if parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOCAL_HOSTS):
        return
    raise WeightsError(f"{url} is not fetched: only https is, as anyone on the way can change what http brings.")
