import hashlib
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tl_toolkit.errors import DownloadError
from tl_toolkit.io import download as downloading
from tl_toolkit.io.download import call_with_timeout, download, require_https

CONTENT = b"weights " * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
ELSEWHERE = {
    "/to-http": "http://example.org/file",
    "/to-file": "file:///etc/passwd",
    "/to-ftp": "ftp://localhost/file",
    "/to-whole": "/whole",
    "/in-circles": "/in-circles",
}


class Handler(BaseHTTPRequestHandler):
    """/whole, /truncated (says more than it sends), /endless, /odd (a length that is none), redirects, and 404."""

    def do_GET(self) -> None:
        if self.path in ELSEWHERE:
            self.send_response(302)
            self.send_header("Location", ELSEWHERE[self.path])
            self.end_headers()
        elif self.path in ("/whole", "/truncated", "/odd"):
            self.send_response(200)
            self.send_header("Content-Length", "many" if self.path == "/odd" else str(len(CONTENT)))
            self.end_headers()
            self.wfile.write(CONTENT if self.path != "/truncated" else CONTENT[:100])
        elif self.path == "/endless":
            self.send_response(200)
            self.end_headers()
            self._send_on()
        else:
            self.send_error(404)

    def _send_on(self) -> None:
        try:
            while True:
                self.wfile.write(CONTENT)
        except OSError:
            self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{httpd.server_port}"
        httpd.shutdown()
        thread.join()


@pytest.mark.parametrize("path", ["/whole", "/to-whole", "/odd"])
def test_download_with_the_right_hash_writes_the_file(server: str, tmp_path: Path, path: str):
    reports: list[tuple[int, int | None]] = []
    download(f"{server}{path}", tmp_path / "new folder" / "file", SHA256, lambda *progress: reports.append(progress))
    assert (tmp_path / "new folder" / "file").read_bytes() == CONTENT
    assert reports[-1] == (len(CONTENT), None if path == "/odd" else len(CONTENT))


@pytest.mark.parametrize(
    ("path", "sha256", "message"),
    [
        ("/whole", "0" * 64, "is not the expected file: its SHA256 begins"),
        ("/truncated", SHA256, r"broke off after 100 of 8,000 bytes. Nothing was kept"),
        ("/missing", SHA256, "/missing answered 404 Not Found"),
        ("/to-http", SHA256, r"/to-http leads to http://example\.org/file, which is not fetched: only https is"),
        ("/to-file", SHA256, r"/to-file leads to file:///etc/passwd, which is not fetched|answered 302"),
        ("/to-ftp", SHA256, r"/to-ftp leads to ftp://localhost/file, which is not fetched"),
        ("/in-circles", SHA256, "/in-circles answered 302"),
    ],
)
def test_download_that_goes_wrong_says_how_and_keeps_nothing(
    server: str, tmp_path: Path, path: str, sha256: str, message: str
):
    with pytest.raises(DownloadError, match=message):
        download(server + path, tmp_path / "file", sha256)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("path", ["/whole", "/endless"])
def test_download_of_too_much_ends_and_keeps_nothing(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
):
    monkeypatch.setattr(downloading, "MAX_BYTES", 4096)
    with pytest.raises(DownloadError, match=r"bytes|has \d+.* or more; at most 4\.0 KiB are downloaded"):
        download(server + path, tmp_path / "file", SHA256)
    assert list(tmp_path.iterdir()) == []


def test_download_from_nobody_says_refused(tmp_path: Path):
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        port = httpd.server_port
    with pytest.raises(DownloadError, match="cannot be reached .*Connection refused"):
        download(f"http://127.0.0.1:{port}/whole", tmp_path / "file", SHA256)


@pytest.mark.parametrize(
    "url", ["http://example.org/file", "ftp://localhost/file", "file:///etc/passwd", "http://localhost.example.org/x"]
)
def test_download_without_protection_is_refused(tmp_path: Path, url: str):
    with pytest.raises(DownloadError, match="is not fetched: only https is"):
        download(url, tmp_path / "file", SHA256)


def test_a_redirect_from_elsewhere_to_this_machine_is_refused():
    require_https("http://localhost/a")
    require_https("http://[::1]/a", before="http://127.0.0.1/b")
    with pytest.raises(DownloadError, match=r"https://x\.org/b leads to http://localhost/a, which is not fetched"):
        require_https("http://localhost/a", before="https://x.org/b")


def test_download_from_addresses_that_drop_packets_ends_before_all_are_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    release = threading.Event()
    tried: list[object] = []

    class Silent(socket.socket):
        """A socket whose packets are dropped: it waits, here until the test is over, and longer than it may."""

        def connect(self, address: object) -> None:
            tried.append(address)
            release.wait(20)
            raise TimeoutError("timed out")

    addresses = [("127.0.0.1", 9), ("127.0.0.2", 9), ("127.0.0.3", 9)]
    answers = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address) for address in addresses]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: answers)
    monkeypatch.setattr(socket, "socket", Silent)
    monkeypatch.setattr(downloading, "ANSWER_SECONDS", 0.2)
    with pytest.raises(DownloadError, match=r"cannot be reached \(no answer within"):
        download("http://localhost/file", tmp_path / "file", SHA256)
    assert tried == addresses[:1]
    release.set()


def test_an_answer_that_comes_too_late_is_closed():
    closed = threading.Event()
    late = threading.Event()

    class Answer:
        def close(self) -> None:
            closed.set()

    def ask() -> Answer:
        late.wait(10)
        return Answer()

    with pytest.raises(TimeoutError, match="no answer within 0 s"):
        call_with_timeout(0.01, ask)
    late.set()
    assert closed.wait(10)
