"""Downloading one file, checked by its hash before anything reads it."""

import hashlib
import shutil
import ssl
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from concurrent.futures import Future
from http.client import HTTPException, HTTPMessage, HTTPResponse
from pathlib import Path
from threading import Thread
from typing import IO, Any, BinaryIO, TypeVar

from tl_toolkit.errors import DownloadError, ToolkitError
from tl_toolkit.io.files import atomic_file, format_size

ANSWER_SECONDS = 8.0
"""Longest wait for an answer (name, addresses, TLS and redirects together) and, later, for the next bytes: being
offline is said within ten seconds."""

MAX_BYTES = 32 * 2**30
"""Largest download. timm's largest weights, of 7 billion parameters, take 25 GiB; the largest dataset takes 11 GiB."""

CHUNK_BYTES = 1 << 20
LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")

ProgressCallback = Callable[[int, int | None], None]
"""Called with the bytes so far and, where known, the bytes in all."""

Answer = TypeVar("Answer")


def download(
    url: str, destination: Path, digest: str | None, progress: ProgressCallback | None = None, algorithm: str = "sha256"
) -> None:
    """Fetches a file; it appears at `destination` only when it is whole and its hash is right.

    Args:
        url: https, or http on this machine; the same holds for where it redirects to.
        destination: The file to write.
        digest: The expected hash, or its first digits; None where the caller checks the file before it is used.
        progress: Told how far it is.
        algorithm: Of the hash.

    Raises:
        DownloadError: The file cannot be fetched or is not the expected one.
    """
    require_https(url)
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(destination) as temporary:
            found = _fetch(url, temporary, progress, algorithm)
            if digest is not None and not found.startswith(digest):
                raise DownloadError(
                    f"{url} is not the expected file: its {algorithm.upper()} begins {found[: len(digest)]}, "
                    f"expected {digest}. Nothing was kept."
                )
    except OSError as error:
        raise DownloadError(f"{url} cannot be kept in {destination.parent} ({error.strerror or error}).") from error
    except DownloadError:
        raise
    except ToolkitError as error:
        raise DownloadError(f"{url} cannot be kept: {error}") from error


def require_https(url: str, before: str | None = None) -> None:
    """Refuses an address that anyone on the way could answer for.

    Args:
        url: The address.
        before: What redirected to it.

    Raises:
        DownloadError: It is neither https nor on this machine, or another machine leads back to this one.
    """
    if urllib.parse.urlsplit(url).scheme == "https":
        return
    if _is_local(url) and (before is None or _is_local(before)):
        return
    where = f"{before} leads to {url}, which" if before else url
    raise DownloadError(f"{where} is not fetched: only https is, as anyone on the way can change what http brings.")


def refuse_oversized(url: str, size: int) -> None:
    """Refuses more bytes than any file that is wanted has.

    Raises:
        DownloadError: They are more than `MAX_BYTES`.
    """
    if size > MAX_BYTES:
        raise DownloadError(f"{url} has {format_size(size)} or more; at most {format_size(MAX_BYTES)} are downloaded.")


def call_with_timeout(seconds: float, ask: Callable[[], Answer]) -> Answer:
    """Asks in a thread of its own: looking up a name and trying each of its addresses have no limit together.

    Args:
        seconds: Longest wait.
        ask: What takes its time; a late answer is closed and forgotten.

    Raises:
        TimeoutError: There was no answer.
        Exception: What `ask` raised.
    """
    answered: Future[Answer] = Future()

    def run() -> None:
        try:
            answered.set_result(ask())
        except BaseException as error:  # noqa: BLE001  # It is raised where the answer is awaited.
            answered.set_exception(error)

    Thread(target=run, daemon=True).start()
    try:
        return answered.result(seconds)
    except TimeoutError:
        answered.add_done_callback(_close)
        raise TimeoutError(f"no answer within {seconds:.0f} s") from None


def open_url(url: str) -> HTTPResponse:
    """Opens an address, following redirects to protected addresses alone.

    Raises:
        DownloadError: It is redirected to an unprotected address.
        OSError, HTTPException: It cannot be reached.
    """
    opener = urllib.request.build_opener(_Redirects)
    response: HTTPResponse = opener.open(url, timeout=ANSWER_SECONDS)
    return response


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Looks at each address before it is asked."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> urllib.request.Request | None:
        try:
            require_https(newurl, before=req.full_url)
        except DownloadError:
            fp.close()
            raise
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _fetch(url: str, temporary: Path, progress: ProgressCallback | None, algorithm: str) -> str:
    """Writes what an address answers to a file, and returns its hash."""
    try:
        with call_with_timeout(ANSWER_SECONDS, lambda: open_url(url)) as response, temporary.open("wb") as file:
            length = response.headers.get("Content-Length") or ""
            return _copy(url, response, file, int(length) if length.isdecimal() else None, progress, algorithm)
    except urllib.error.HTTPError as error:
        error.close()
        raise DownloadError(f"{url} answered {error.code} {error.reason}.") from error
    except (urllib.error.URLError, HTTPException, TimeoutError, ConnectionError, ssl.SSLError) as error:
        reason = getattr(error, "reason", error)
        raise DownloadError(f"{url} cannot be reached ({reason}).") from error


def _copy(
    url: str,
    source: HTTPResponse,
    target: BinaryIO,
    expected: int | None,
    progress: ProgressCallback | None,
    algorithm: str,
) -> str:
    """Copies everything, hashing it on the way.

    Raises:
        DownloadError: The source ended too early or does not end, or the disk is too small.
    """
    if expected is not None:
        refuse_oversized(url, expected)
        free = shutil.disk_usage(Path(target.name).parent).free
        if free < expected:
            raise DownloadError(f"{expected:,} bytes are to be downloaded, but the disk has {free:,} free.")
    digest = hashlib.new(algorithm, usedforsecurity=False)
    done = 0
    while chunk := source.read(CHUNK_BYTES):
        done += len(chunk)
        refuse_oversized(url, done)
        target.write(chunk)
        digest.update(chunk)
        if progress:
            progress(done, expected)
    if expected is not None and done < expected:
        raise DownloadError(
            f"The download broke off after {done:,} of {expected:,} bytes. Nothing was kept; try again."
        )
    return digest.hexdigest()


def _is_local(url: str) -> bool:
    parts = urllib.parse.urlsplit(url)
    return parts.scheme == "http" and parts.hostname in LOCAL_HOSTS


def _close(late: "Future[Any]") -> None:
    if late.exception() is None and hasattr(late.result(), "close"):
        late.result().close()
