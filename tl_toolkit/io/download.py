"""Downloads of single files, verified by their hash before anything reads them."""

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
from typing import IO, Any, TypeVar

from tl_toolkit.errors import DownloadError, ToolkitError
from tl_toolkit.io.files import atomic_file, format_size

ANSWER_SECONDS = 8.0
"""Timeout for the answer (name, addresses, TLS and redirects together) and then for the next bytes: being offline is
reported within ten seconds."""

MAX_BYTES = 32 * 2**30
"""timm's largest weights, of 7 billion parameters, take 25 GiB; the largest dataset takes 11 GiB."""

CHUNK_BYTES = 1 << 20
LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")

ProgressCallback = Callable[[int, int | None], None]
"""Called with the bytes so far and the total, or None if unknown."""

Answer = TypeVar("Answer")


def download(
    url: str, destination: Path, digest: str | None, progress: ProgressCallback | None = None, algorithm: str = "sha256"
) -> None:
    """Download a file, which appears at `destination` only when it is complete and its hash is right.

    Args:
        url: https, or http on this machine; redirects likewise.
        destination: The file to write.
        digest: The expected hash, or its first digits; None if the caller verifies the file before use.
        progress: Called after each chunk.
        algorithm: Name of the hash.

    Raises:
        DownloadError: The file cannot be downloaded or is not the expected one.
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
        raise DownloadError(f"{url} cannot be saved in {destination.parent} ({error.strerror or error}).") from error
    except DownloadError:
        raise
    except ToolkitError as error:
        raise DownloadError(f"{url} cannot be saved: {error}") from error


def require_https(url: str, before: str | None = None) -> None:
    """Refuse a URL whose answer anyone on the way could forge; `before` is the URL that redirected to it.

    Raises:
        DownloadError: The URL is neither https nor local, or a remote one redirected to a local one.
    """
    if urllib.parse.urlsplit(url).scheme == "https":
        return
    if _is_local(url) and (before is None or _is_local(before)):
        return
    where = f"{before} leads to {url}, which" if before else url
    raise DownloadError(f"{where} is not fetched: only https is, as anyone on the way can change what http brings.")


def refuse_oversized(url: str, size: int) -> None:
    """Refuse a file of more than `MAX_BYTES`.

    Raises:
        DownloadError: The size is larger.
    """
    if size > MAX_BYTES:
        raise DownloadError(f"{url} has {format_size(size)} or more; at most {format_size(MAX_BYTES)} are downloaded.")


def call_with_timeout(
    seconds: float, function: Callable[[], Answer], progress: Callable[[], object] = lambda: None
) -> Answer:
    """Call a function in a thread, with a timeout: resolving a name and trying its addresses have none in total.

    A late result is closed and dropped.

    Args:
        seconds: The timeout.
        function: The function.
        progress: What it returns changes as long as the function gets on, which then has as much time again.

    Raises:
        TimeoutError: The function did not return in time.
        Exception: The exception of the function.
    """
    answered: Future[Answer] = Future()

    def run() -> None:
        try:
            answered.set_result(function())
        except BaseException as error:  # noqa: BLE001  # Raised where the answer is awaited.
            answered.set_exception(error)

    before = progress()
    Thread(target=run, daemon=True).start()
    while True:
        try:
            return answered.result(seconds)
        except TimeoutError:
            reached = progress()
            if reached == before or answered.done():
                answered.add_done_callback(_close)
                raise TimeoutError(f"no answer within {seconds:.0f} s") from None
            before = reached


def open_url(url: str) -> HTTPResponse:
    """Open a URL, following only redirects that `require_https` accepts.

    Raises:
        DownloadError: It redirects to another URL.
        OSError, HTTPException: It cannot be reached.
    """
    response: HTTPResponse = urllib.request.build_opener(_Redirects).open(url, timeout=ANSWER_SECONDS)
    return response


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Redirects that are checked before they are followed."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> urllib.request.Request | None:
        try:
            require_https(newurl, before=req.full_url)
        except DownloadError:
            fp.close()
            raise
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _fetch(url: str, path: Path, progress: ProgressCallback | None, algorithm: str) -> str:
    """Write the content of a URL to a file and return its hash.

    Raises:
        DownloadError: The URL cannot be reached, its content ends too early or is too large, or the disk is too small.
    """
    digest = hashlib.new(algorithm, usedforsecurity=False)
    done, expected = 0, None
    try:
        with call_with_timeout(ANSWER_SECONDS, lambda: open_url(url)) as response, path.open("wb") as file:
            if (length := response.headers.get("Content-Length") or "").isdecimal():
                expected = int(length)
                refuse_oversized(url, expected)
                free = shutil.disk_usage(path.parent).free
                if free < expected:
                    raise DownloadError(f"{expected:,} bytes are to be downloaded, but the disk has {free:,} free.")
            while chunk := response.read(CHUNK_BYTES):
                done += len(chunk)
                refuse_oversized(url, done)
                file.write(chunk)
                digest.update(chunk)
                if progress:
                    progress(done, expected)
    except urllib.error.HTTPError as error:
        error.close()
        raise DownloadError(f"{url} answered {error.code} {error.reason}.") from error
    except (urllib.error.URLError, HTTPException, TimeoutError, ConnectionError, ssl.SSLError) as error:
        raise DownloadError(f"{url} cannot be reached ({getattr(error, 'reason', error)}).") from error
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
