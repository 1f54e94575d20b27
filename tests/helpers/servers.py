"""A web server of the tests, which misbehaves on request."""

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class FileServer:
    """Serves the files of a folder on 127.0.0.1.

    Attributes:
        url: Of the folder, without a slash at its end.
        requests: Number of requests by method and path.
        answers: Status to answer instead, by path; a list gives the next ones, and then files are served again.
        short: Paths of which only the first half is sent.
        silent: Paths that are never answered.
        slow: Seconds between the hundredths of a file, by path.
        tags: ETag by path; None for no header that says anything of the file.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.requests: Counter[tuple[str, str]] = Counter()
        self.answers: dict[str, list[int] | int] = {}
        self.short: set[str] = set()
        self.silent: set[str] = set()
        self.slow: dict[str, float] = {}
        self.tags: dict[str, str | None] = {}
        self.closed = threading.Event()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.files = self  # type: ignore[attr-defined]
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def status(self, path: str) -> int | None:
        """Return the status to answer; None to send the file."""
        answer = self.answers.get(path)
        if isinstance(answer, list):
            answer = answer.pop(0) if answer else None
        return answer if answer or (self.folder / path).is_file() else 404

    def count(self, method: str) -> int:
        return sum(count for (name, _), count in self.requests.items() if name == method)


class Handler(BaseHTTPRequestHandler):
    """Answers as its server's `files` says."""

    protocol_version = "HTTP/1.1"

    @property
    def files(self) -> FileServer:
        files: FileServer = self.server.files  # type: ignore[attr-defined]
        return files

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, body: bool) -> None:
        path = self.path.lstrip("/")
        self.files.requests[self.command, path] += 1
        if path in self.files.silent:
            self.files.closed.wait(30)
            self.close_connection = True
            return
        file = self.files.folder / path
        status = self.files.status(path)
        content = b"" if status else file.read_bytes()
        self.send_response(status or 200)
        self.send_header("Content-Length", str(len(content)))
        tag = None if status else self.files.tags.get(path, f'"{file.stat().st_mtime_ns}"')
        if tag is not None:
            self.send_header("ETag", tag)
        self.end_headers()
        if body:
            self.send(path, content)

    def send(self, path: str, content: bytes) -> None:
        if path in self.files.short:
            self.wfile.write(content[: len(content) // 2])
            self.close_connection = True
        elif path in self.files.slow:
            step = max(1, len(content) // 100)
            for start in range(0, len(content), step):
                self.wfile.write(content[start : start + step])
                self.wfile.flush()
                time.sleep(self.files.slow[path])
        else:
            self.wfile.write(content)


@contextlib.contextmanager
def serve_files(folder: Path) -> Iterator[FileServer]:
    """Serve a folder within the block."""
    server = FileServer(folder)
    thread = threading.Thread(target=server.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.closed.set()
        server.server.shutdown()
        server.server.server_close()
        thread.join()
