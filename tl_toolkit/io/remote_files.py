"""Files from elsewhere, kept in a folder of bounded size from which the least recently used go first.

The folder `remote/` of the cache holds a file for each URL, under the digest of this URL, in one of many folders. Its
name also has a digest of what the server said of it (ETag, size and time), and of its content. Files appear when they
are complete, so that a killed process leaves nothing half-written, and concurrent processes do no harm: at worst two
fetch the same file. What is here is not asked for again.
"""

import contextlib
import hashlib
import os
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache, partial
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

import filelock

from tl_toolkit.errors import DownloadError, RemoteFileError
from tl_toolkit.io.files import UNFINISHED, format_size, parse_size, sync_to_disk
from tl_toolkit.io.fingerprints import IDENTITY_BYTES
from tl_toolkit.io.reader_threads import ReaderPool
from tl_toolkit.io.remote_access import RemoteAccess, Told, digest_of_text
from tl_toolkit.io.row_cache import CacheEntry, cache_folder, default_limit
from tl_toolkit.text import named

FOLDER = "remote"

REMEMBERED_SECONDS = 60.0
"""How long a file that failed is not tried again: reading ahead fails first, then the reader asks."""

FETCHERS = 16
"""Files that a process fetches at a time."""

SCAN_SHARE = 0.02
"""Share of the limit that a process fetches before it counts again what is there, as others write there too."""

REST_SHARE = 0.95
"""Share of the limit that is left when files are removed, so that this is rare."""

STALE_SECONDS = 3600
"""Age of an unfinished file that no living process writes."""

FOLDER_DIGITS = 3
"""Hexadecimal digits that name a folder: a million files lie in folders of 250."""


_OF_PARENTS: list[RemoteAccess] = []
"""Connections of a forked process's parent: closing them would wait for a thread that only the parent has."""


class StoredFile(NamedTuple):
    """A file of the cache, with digests of what the server said of it, and of its content, in hexadecimal."""

    path: Path
    validator: str
    content: str


class RemoteFiles:
    """A bounded cache of remote files. It can be sent to worker processes.

    Args:
        folder: The cache; None for that of the toolkit.
        limit: Bytes that it may take; None for the default. Several processes together may pass it by 2 % each.
    """

    def __init__(self, folder: Path | None = None, limit: int | None = None) -> None:
        self.folder = (folder or cache_folder()) / FOLDER
        self.limit = default_limit(self.folder) if limit is None else limit
        self._begin()

    @classmethod
    def of_size(cls, size: str | None) -> "RemoteFiles":
        """Return the cache with a limit such as "20GiB"; None for the default."""
        return cls(limit=None if size is None else parse_size(str(size)))

    def check(self, urls: Iterable[str]) -> None:
        """Check that files can be fetched by the protocols of URLs, and that these are complete.

        Raises:
            DataError: A protocol is not known, or its package is missing.
        """
        for url in {url.partition("://")[0]: url for url in urls}.values():
            self._access.check(url)

    def _begin(self) -> None:
        self._access = RemoteAccess()
        self._lock = threading.Lock()
        self._room = threading.Condition()
        self._coming = 0  # Bytes that are being fetched, for which there is room.
        self._fetching: dict[str, threading.Lock] = {}
        self._failed: dict[str, tuple[float, RemoteFileError]] = {}
        self._told: dict[str, Told] = {}
        self._total, self._added = self.limit, self.limit  # Not yet counted.

    def __getstate__(self) -> dict[str, Any]:
        return {"folder": self.folder, "limit": self.limit}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._begin()

    def fetch(self, url: str) -> Path:
        """Return the file of a URL on this machine, fetched if it is not there yet.

        It may be removed once many others were fetched: open it at once.

        Raises:
            RemoteFileError: This file cannot be fetched.
            DownloadError: The server or the network is gone, or the disk is full.
            DataError: The protocol is not known, or its package is missing.
        """
        return self._stored(url).path

    def read(self, url: str) -> bytes:
        """Return the content of a URL; see `fetch`."""
        with contextlib.suppress(FileNotFoundError):  # Removed since, by another process.
            return self.fetch(url).read_bytes()
        return self.fetch(url).read_bytes()

    def make(self, name: str, write: Callable[[Path], None]) -> Path:
        """Return a file that was made from others, made by `write` if it is not there yet; see `fetch`.

        Args:
            name: Tells it from all other files, and changes when its content does.
            write: Writes it to a path.
        """
        self._begin_in_process()
        key = digest_of_text(name)
        if found := self._find(key):
            return found.path
        folder = self.folder / key[:FOLDER_DIGITS]
        temporary = folder / f".{key}.{secrets.token_hex(4)}{UNFINISHED}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            write(temporary)
            path = folder / f"{key}-{key}-{key}"  # Nobody asks for the digest of what was made here.
            with self._room_for(name, temporary.stat().st_size):
                temporary.replace(path)
        except OSError as error:
            raise DownloadError(f"{name} cannot be saved in {self.folder} ({error.strerror or error}).") from error
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
        return path

    def read_ahead(self, urls: Sequence[str]) -> None:
        """Begin to fetch files, several at a time. Errors appear when a file is read."""
        if len(missing := [url for url in urls if self._find(digest_of_text(url)) is None]) > 1:
            fetchers().start(self._stored, missing)

    def content(self, url: str) -> bytes | None:
        """Return a digest of the content of a URL; None if it is not here."""
        found = self._find(digest_of_text(url))
        return bytes.fromhex(found.content) if found else None

    def fingerprints(self, urls: Sequence[str]) -> list[bytes | None]:
        """Return for each URL 16 bytes that change when its file changes.

        They are made of what the server says of the file, without fetching it; it is fetched if the server says
        nothing. None for a file that cannot be fetched.

        Raises:
            DownloadError: The server or the network is gone.
        """
        here = {key: found.validator for key, found in self._list()} if len(urls) > FETCHERS else {}
        known = [here.get(digest_of_text(url)) for url in urls]
        unknown = [url for url, validator in zip(urls, known, strict=True) if validator is None]
        asked = dict(zip(unknown, fetchers().start(self._validator, unknown).outcomes(), strict=True))
        validators = (validator or asked[url] for url, validator in zip(urls, known, strict=True))
        return [
            blake2b(f"{url}\0{validator}".encode(), digest_size=IDENTITY_BYTES).digest() if validator else None
            for url, validator in zip(urls, validators, strict=True)
        ]

    def _validator(self, url: str) -> str | None:
        """Return a digest of what the server says of a file, or else of its content; None if it cannot be fetched."""
        key = digest_of_text(url)
        try:
            if found := self._find(key):
                return found.validator
            self._begin_in_process()
            told = self._told[key] = self._access.ask(url)
            return told.validator or self._stored(url).validator
        except RemoteFileError as failure:
            self._failed[key] = time.monotonic(), failure
            return None

    def _begin_in_process(self) -> None:
        """Begin anew in a forked process: it has none of the threads that may hold the locks."""
        if self._access.process != os.getpid():
            _OF_PARENTS.append(self._access)
            self._begin()

    def _stored(self, url: str) -> StoredFile:
        """Return the file of a URL, fetched if needed; other threads that want the same one wait for it."""
        self._begin_in_process()
        key = digest_of_text(url)
        if found := self._find(key):
            return found
        with self._lock:
            own = self._fetching.setdefault(key, threading.Lock())
        with own:
            if found := self._find(key):
                return found
            when, failure = self._failed.get(key, (0.0, None))
            if failure and time.monotonic() - when < REMEMBERED_SECONDS:
                raise failure
            try:
                return self._fetch(url, key)
            except RemoteFileError as error:
                self._failed[key] = time.monotonic(), error
                raise
            finally:
                with self._lock:
                    self._fetching.pop(key, None)

    def _find(self, key: str) -> StoredFile | None:
        """Return the file of a key, marked as used; None if it is not here."""
        folder = self.folder / key[:FOLDER_DIGITS]
        try:
            with os.scandir(folder) as entries:
                path = next((folder / entry.name for entry in entries if entry.name.startswith(key)), None)
            if path is None:
                return None
            with contextlib.suppress(PermissionError):
                os.utime(path)
        except OSError:
            return None
        return _parse(path)

    def _list(self) -> Iterator[tuple[str, StoredFile]]:
        """Yield the key and the file of each URL that is here."""
        for path in self.folder.glob("*/[0-9a-f]*"):
            yield path.name.partition("-")[0], _parse(path)

    def _fetch(self, url: str, key: str) -> StoredFile:
        told = self._told.pop(key, None) or self._access.ask(url)
        folder = self.folder / key[:FOLDER_DIGITS]
        temporary = folder / f".{key}.{secrets.token_hex(4)}{UNFINISHED}"
        room = contextlib.ExitStack()
        try:
            if told.size is not None:
                room.enter_context(self._room_for(url, told.size))
            folder.mkdir(parents=True, exist_ok=True)
            self._access.copy(url, temporary, told.size)
            if told.size is None:
                room.enter_context(self._room_for(url, temporary.stat().st_size))
            with temporary.open("rb") as file:
                content = hashlib.file_digest(file, partial(blake2b, digest_size=IDENTITY_BYTES)).hexdigest()
            sync_to_disk(temporary)
            path = folder / f"{key}-{told.validator or content}-{content}"
            temporary.replace(path)
        except OSError as error:
            raise DownloadError(f"{url} cannot be saved in {self.folder} ({error.strerror or error}).") from error
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            room.close()
        return _parse(path)

    @contextlib.contextmanager
    def _room_for(self, url: str, size: int) -> Iterator[None]:
        """Remove the least recently used files until `size` more bytes fit, beside what comes within other such blocks.

        Raises:
            RemoteFileError: They never fit.
            DownloadError: The disk is too small.
        """
        if size > self.limit:
            raise RemoteFileError(
                url,
                f"it has {format_size(size)}, and the cache of remote files may take {format_size(self.limit)}: "
                f"raise {named('cache_size')}",
            )
        with self._room:
            self._room.wait_for(lambda: self._coming + size <= self.limit)
            if self._total + size > self.limit or self._added + size > SCAN_SHARE * self.limit:
                self._total, self._added = self._evict(self._coming + size) + self._coming, 0
            self._total += size
            self._added += size
            self._coming += size
        try:
            yield
        finally:
            with self._room:
                self._coming -= size
                self._room.notify_all()

    def _evict(self, size: int) -> int:
        """Count what is here and remove what must go; return the bytes that remain."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            free = shutil.disk_usage(self.folder).free
            if free < size:
                raise DownloadError(
                    f"{format_size(size)} are to be fetched, but {self.folder} has {format_size(free)}."
                )
            with filelock.FileLock(self.folder / ".lock"):
                return _evict(self.folder, self.limit - size, int(REST_SHARE * self.limit) - size)
        except OSError as error:
            raise DownloadError(f"{self.folder} cannot be written: {error.strerror}.") from error


def _evict(folder: Path, most: int, rest: int) -> int:
    """Remove files if there are more bytes than `most`, until at most `rest` remain."""
    files: list[tuple[float, int, Path]] = []
    for path in folder.glob("*/*"):
        with contextlib.suppress(OSError):  # Another process may have removed it.
            status = path.stat()
            if path.name.endswith(UNFINISHED):
                if time.time() - status.st_mtime > STALE_SECONDS:
                    path.unlink()
                continue
            files.append((status.st_mtime, status.st_size, path))
    total = sum(size for _, size, _ in files)
    if total <= most:
        return total
    for _, size, path in sorted(files):
        if total <= max(rest, 0):
            break
        with contextlib.suppress(OSError):
            path.unlink()
        total -= size
    return total


def list_remote_files(folder: Path) -> list[CacheEntry]:
    """Return all remote files in a cache as one entry, or none if there are none."""
    found = []
    for path in (folder / FOLDER).glob("*/[0-9a-f]*"):
        with contextlib.suppress(OSError):
            found.append(path.stat())
    if not found:
        return []
    size, used = sum(status.st_size for status in found), max(status.st_mtime for status in found)
    return [CacheEntry(folder / FOLDER, "remote files", len(found), size, used)]


def _parse(path: Path) -> StoredFile:
    _, validator, content = path.name.split("-")
    return StoredFile(path, validator, content)


@cache
def fetchers() -> ReaderPool:
    """Return the threads of this process that fetch files."""
    return ReaderPool(FETCHERS)


if hasattr(os, "register_at_fork"):  # Not on Windows.
    os.register_at_fork(after_in_child=fetchers.cache_clear)
