import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tl_toolkit.errors import WeightsError
from tl_toolkit.models.download import download, hash_in_name

CONTENT = b"weights " * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """/whole, /truncated (says more than it sends) and 404 for all else."""

    def do_GET(self) -> None:
        if self.path not in ("/whole", "/truncated"):
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(CONTENT if self.path == "/whole" else CONTENT[:100])

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


def test_download_with_the_right_hash_writes_the_file(server: str, tmp_path: Path):
    told: list[tuple[int, int | None]] = []
    download(f"{server}/whole", tmp_path / "new folder" / "file", SHA256, lambda *progress: told.append(progress))
    assert (tmp_path / "new folder" / "file").read_bytes() == CONTENT
    assert told[-1] == (len(CONTENT), len(CONTENT))


@pytest.mark.parametrize(
    ("path", "sha256", "message"),
    [
        ("/whole", "0" * 64, "is not the expected file: its SHA-256 begins"),
        ("/truncated", SHA256, r"broke off after 100 of 8,000 bytes. Nothing was kept"),
        ("/missing", SHA256, "/missing answered 404 Not Found"),
    ],
)
def test_download_that_goes_wrong_says_how_and_keeps_nothing(
    server: str, tmp_path: Path, path: str, sha256: str, message: str
):
    with pytest.raises(WeightsError, match=message):
        download(server + path, tmp_path / "file", sha256)
    assert list(tmp_path.iterdir()) == []


def test_download_from_nobody_says_refused(tmp_path: Path):
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        port = httpd.server_port
    with pytest.raises(WeightsError, match="cannot be reached .*Connection refused"):
        download(f"http://127.0.0.1:{port}/whole", tmp_path / "file", SHA256)


@pytest.mark.parametrize("url", ["http://example.org/file", "ftp://localhost/file", "file:///etc/passwd"])
def test_download_without_protection_is_refused(tmp_path: Path, url: str):
    with pytest.raises(WeightsError, match="is not fetched: only https is"):
        download(url, tmp_path / "file", SHA256)


def test_hash_in_name_is_torch_hubs():
    assert hash_in_name("resnet18-f37072fd.pth") == "f37072fd"
    assert hash_in_name("resnet18.pth") is None
