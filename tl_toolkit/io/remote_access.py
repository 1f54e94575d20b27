"""Files from elsewhere through fsspec: what a server says of a file, and its content, with the errors of each way."""

import os
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from tl_toolkit.errors import DataError, DownloadError, RemoteFileError
from tl_toolkit.io.download import call_with_timeout
from tl_toolkit.io.files import NO_ROOM
from tl_toolkit.text import join_names

Answer = TypeVar("Answer")

EXTRAS = {"http": "http", "https": "http", "s3": "s3", "gs": "gcs", "gcs": "gcs", "hf": "hf"}
"""The extra that installs what each protocol needs."""

PACKAGES = {"http": "aiohttp", "s3": "s3fs", "gcs": "gcsfs", "hf": "huggingface_hub"}

STALL_SECONDS = 20.0
"""Timeout for the answer, and then for the next bytes. Object stores under load take seconds to answer."""

PAUSES = (0.5, 2.0)
"""Seconds before a file is tried again, if the server or the connection failed."""

BUSY = (408, 425, 429, 500, 502, 503, 504)
"""Answers of servers that may be better later."""

MAX_IN_A_ROW = 8
"""Files that cannot be reached before the server or the network counts as gone."""

VALIDATORS = ("ETag", "Content-MD5", "Digest", "Last-Modified", "LastModified", "etag", "md5Hash", "updated", "mtime")
"""What servers call that which changes when a file does."""

DIGEST_BYTES = 16


class Told(NamedTuple):
    """What a server says of a file, as far as known: its bytes, and a digest that changes when the file does."""

    size: int | None
    validator: str | None


class RemoteAccess:
    """Reads remote files. It belongs to the process that made it, and any of its threads may use it."""

    def __init__(self) -> None:
        self.process = os.getpid()
        self._lock = threading.Lock()
        self._systems: dict[str, Any] = {}
        self._unreachable = 0

    def check(self, url: str) -> None:
        """Check that files can be fetched by the protocol of a URL.

        Raises:
            DataError: It is not known, or its package is missing.
        """
        self._system(url)

    def ask(self, url: str) -> Told:
        """Return what the server says of a file.

        Raises:
            RemoteFileError, DownloadError: See `copy`.
        """
        system = self._system(url)
        info: dict[str, Any] = self._try(
            url, lambda: call_with_timeout(STALL_SECONDS, lambda: system.info(system._strip_protocol(url)))
        )
        told = [f"{name}: {info[name]}" for name in VALIDATORS if info.get(name)]
        size = info.get("size")
        return Told(size, digest_of_text(f"{size} {told}") if told else None)

    def copy(self, url: str, path: Path, size: int | None) -> None:
        """Write the content of a URL to a file.

        Args:
            url: The URL.
            path: The file, which may be half-written after an error.
            size: What the server said of its size.

        Raises:
            RemoteFileError: This file cannot be fetched, though others perhaps can.
            DownloadError: None of the last files could be reached.
        """
        from fsspec.callbacks import Callback

        system = self._system(url)

        def write() -> None:
            progress = Callback()
            call_with_timeout(
                STALL_SECONDS,
                lambda: system.get_file(system._strip_protocol(url), str(path), callback=progress),
                lambda: progress.value,
            )
            found = path.stat().st_size
            if size is not None and found != size:
                raise ConnectionError(f"the download broke off after {found:,} of {size:,} bytes")

        self._try(url, write)

    def _try(self, url: str, call: Callable[[], Answer]) -> Answer:
        """Call a function, again if the server or the connection fails, and tell its error in words."""
        for pause in (*PAUSES, None):
            try:
                answer = call()
            except Exception as error:  # Each file system has errors of its own.
                if isinstance(error, OSError) and error.errno in NO_ROOM:
                    raise
                failure = error
            else:
                self._unreachable = 0
                return answer
            reason, unreachable = explain(failure)
            if not unreachable:
                self._unreachable = 0
                break
            if pause is None or isinstance(failure, TimeoutError):
                self._count_unreachable(url, reason)
                break
            time.sleep(pause)
        raise RemoteFileError(url, reason) from failure

    def _count_unreachable(self, url: str, reason: str) -> None:
        self._unreachable += 1
        if self._unreachable >= MAX_IN_A_ROW:
            raise DownloadError(
                f"The last {self._unreachable} files of {urllib.parse.urlsplit(url).netloc} cannot be fetched, such as "
                f"{url}: {reason}. What was fetched before is kept; start again when they can be reached."
            )

    def _system(self, url: str) -> Any:
        """Return the file system of a URL, one for each protocol."""
        protocol = check_protocol(url)
        with self._lock:
            if protocol not in self._systems:
                self._systems[protocol] = _open_system(protocol)
            return self._systems[protocol]


def check_protocol(url: str) -> str:
    """Return the protocol of a URL.

    Raises:
        DataError: It is not known.
    """
    protocol = url.partition("://")[0].lower()
    if protocol not in EXTRAS:
        raise DataError(
            f"{url}: files are fetched by {join_names(list(EXTRAS), len(EXTRAS))} only, not by {protocol!r}."
        )
    return protocol


def digest_of_text(text: str) -> str:
    """Return a digest in hexadecimal."""
    return blake2b(text.encode("utf-8", "surrogateescape"), digest_size=DIGEST_BYTES).hexdigest()


def explain(error: BaseException) -> tuple[str, bool]:
    """Return why a file cannot be fetched, and whether that may be due to the server or the connection."""
    errors = list(_causes(error))
    for each in errors:
        status = getattr(each, "status", None)
        if isinstance(status, int):
            text = getattr(each, "message", "") or ""
            return f"the server answered {status} {text}".strip(), status in BUSY
    for each in errors:
        if isinstance(each, TimeoutError) or "Timeout" in type(each).__name__:
            return f"no answer within {STALL_SECONDS:.0f} s", True
    if isinstance(error, FileNotFoundError) and len(errors) == 1:
        return "there is no such file", False
    if isinstance(error, PermissionError) or "Credentials" in type(error).__name__:
        return f"access is denied ({error})", False
    last = errors[-1]
    if "Payload" in type(last).__name__ or "Payload" in type(error).__name__:
        return "the download broke off", True
    if isinstance(error, ConnectionError) and len(errors) == 1:
        return str(error), True
    if any(isinstance(each, OSError) and not isinstance(each, FileNotFoundError) for each in errors):
        return f"it cannot be reached ({last})", True
    return str(last) or type(last).__name__, False


def _causes(error: BaseException) -> Iterator[BaseException]:
    found: BaseException | None = error
    while found is not None:
        yield found
        found = found.__cause__


def _open_system(protocol: str) -> Any:
    """Return a file system of fsspec.

    Raises:
        DataError: The package for it is missing.
    """
    import fsspec

    extra = EXTRAS[protocol]
    try:
        options: dict[str, Any] = {}
        if extra == "http":
            import aiohttp

            # Its own limit is 5 minutes in all; a shard may take longer. Compressed, a file has another size.
            limits = aiohttp.ClientTimeout(total=None, sock_connect=STALL_SECONDS, sock_read=STALL_SECONDS)
            options = {
                "client_kwargs": {"timeout": limits, "trust_env": True, "headers": {"Accept-Encoding": "identity"}}
            }
        system = fsspec.filesystem(protocol, skip_instance_cache=True, **options)
        if extra == "http":
            fsspec.asyn.sync(system.loop, system.set_session)  # Threads that come first together would make several.
    except ImportError as error:
        raise DataError(
            f"{protocol}:// needs the package {PACKAGES[extra]}: pip install 'tl_toolkit[{extra}]'."
        ) from error
    return system
