import multiprocessing
import os
import pickle
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.servers import FileServer, serve_files
from tl_toolkit.errors import DataError, DownloadError, RemoteFileError
from tl_toolkit.io import remote_access, remote_files
from tl_toolkit.io.remote_files import RemoteFiles, list_remote_files


@pytest.fixture
def server(tmp_path: Path) -> Iterator[FileServer]:
    folder = tmp_path / "far"
    folder.mkdir()
    for index in range(10):
        (folder / f"{index}.bin").write_bytes(bytes([index]) * 1000)
    with serve_files(folder) as server:
        yield server


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_access, "PAUSES", (0.01, 0.01))


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_access, "STALL_SECONDS", 1.0)


def stored(folder: Path) -> list[int]:
    """The first byte of each file that is kept."""
    return sorted(path.read_bytes()[0] for path in folder.glob("remote/*/[0-9a-f]*"))


def test_fetch_gives_the_file_and_asks_once(server: FileServer, tmp_path: Path) -> None:
    files = RemoteFiles(tmp_path / "cache", 10_000)
    assert files.content(f"{server.url}/3.bin") is None
    path = files.fetch(f"{server.url}/3.bin")
    assert path.read_bytes() == bytes([3]) * 1000
    again = RemoteFiles(tmp_path / "cache", 10_000)
    assert again.fetch(f"{server.url}/3.bin") == path
    assert again.read(f"{server.url}/3.bin") == bytes([3]) * 1000
    assert server.requests == {("HEAD", "3.bin"): 1, ("GET", "3.bin"): 1}
    assert files.content(f"{server.url}/3.bin") is not None


def test_fetch_beyond_the_limit_removes_the_least_recently_used(server: FileServer, tmp_path: Path) -> None:
    files = RemoteFiles(tmp_path / "cache", 3_500)
    for index in (0, 1, 2):
        os.utime(files.fetch(f"{server.url}/{index}.bin"), (index, index))
    files.fetch(f"{server.url}/0.bin")
    files.fetch(f"{server.url}/3.bin")
    assert stored(tmp_path / "cache") == [0, 2, 3]
    files.fetch(f"{server.url}/4.bin")
    assert stored(tmp_path / "cache") == [0, 3, 4]


def test_fetch_counts_what_another_process_fetched(server: FileServer, tmp_path: Path) -> None:
    one, other = (RemoteFiles(tmp_path / "cache", 3_500) for _ in range(2))
    for index in range(0, 10, 2):
        one.fetch(f"{server.url}/{index}.bin")
        other.fetch(f"{server.url}/{index + 1}.bin")
        assert len(stored(tmp_path / "cache")) <= 3


def test_fetch_of_more_than_the_limit_is_refused(server: FileServer, tmp_path: Path) -> None:
    with pytest.raises(RemoteFileError) as raised:
        RemoteFiles(tmp_path / "cache", 999).fetch(f"{server.url}/3.bin")
    assert str(raised.value) == (
        f"{server.url}/3.bin: it has 1000 B, and the cache of remote files may take 999 B: raise cache_size"
    )
    assert server.count("GET") == 0


def test_fetch_with_threads_that_want_one_file_gets_it_once(server: FileServer, tmp_path: Path) -> None:
    files = RemoteFiles(tmp_path / "cache", 10_000)
    server.slow["3.bin"] = 0.002
    threads = [threading.Thread(target=files.fetch, args=(f"{server.url}/3.bin",)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert server.requests["GET", "3.bin"] == 1


def test_read_ahead_fetches_before_they_are_read(server: FileServer, tmp_path: Path) -> None:
    files = RemoteFiles(tmp_path / "cache", 100_000)
    files.read_ahead([f"{server.url}/{index}.bin" for index in range(10)])
    deadline = time.monotonic() + 10
    while len(stored(tmp_path / "cache")) < 10 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert stored(tmp_path / "cache") == list(range(10))
    assert files.read(f"{server.url}/7.bin") == bytes([7]) * 1000
    assert server.count("GET") == 10


@pytest.mark.parametrize(
    ("status", "text"), [(404, "404 Not Found"), (403, "403 Forbidden"), (500, "500 Internal Server Error")]
)
def test_fetch_that_the_server_refuses_says_so(server: FileServer, tmp_path: Path, status: int, text: str) -> None:
    server.answers["3.bin"] = status
    with pytest.raises(RemoteFileError) as raised:
        RemoteFiles(tmp_path / "cache", 10_000).fetch(f"{server.url}/3.bin")
    assert str(raised.value) == f"{server.url}/3.bin: the server answered {text}"
    assert stored(tmp_path / "cache") == []


def test_fetch_that_failed_is_not_tried_again_at_once(server: FileServer, tmp_path: Path) -> None:
    files = RemoteFiles(tmp_path / "cache", 10_000)
    for _ in range(3):
        with pytest.raises(RemoteFileError, match="404"):
            files.fetch(f"{server.url}/gone.bin")
    assert server.count("GET") == 1


def test_fetch_of_busy_server_is_tried_again(server: FileServer, tmp_path: Path) -> None:
    server.answers["3.bin"] = [503, 503, 503]
    assert RemoteFiles(tmp_path / "cache", 10_000).read(f"{server.url}/3.bin") == bytes([3]) * 1000


def test_fetch_of_truncated_file_is_refused(server: FileServer, tmp_path: Path) -> None:
    server.short.add("3.bin")
    with pytest.raises(RemoteFileError) as raised:
        RemoteFiles(tmp_path / "cache", 10_000).fetch(f"{server.url}/3.bin")
    assert str(raised.value) == f"{server.url}/3.bin: the download broke off"
    assert list((tmp_path / "cache").glob("remote/*/*")) == []


def test_fetch_that_is_never_answered_ends(server: FileServer, tmp_path: Path, impatient: None) -> None:
    server.silent.add("3.bin")
    started = time.monotonic()
    with pytest.raises(RemoteFileError, match="no answer within 1 s"):
        RemoteFiles(tmp_path / "cache", 10_000).fetch(f"{server.url}/3.bin")
    assert time.monotonic() - started < 5


def test_fetch_that_is_slow_but_gets_on_succeeds(server: FileServer, tmp_path: Path, impatient: None) -> None:
    server.slow["3.bin"] = 0.02  # 2 seconds in all, which is twice the timeout.
    assert RemoteFiles(tmp_path / "cache", 10_000).read(f"{server.url}/3.bin") == bytes([3]) * 1000


def test_fetch_without_a_server_says_so_and_gives_up_after_some(tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        files = RemoteFiles(tmp_path / "cache", 10_000)
        for index in range(remote_access.MAX_IN_A_ROW - 1):
            with pytest.raises(RemoteFileError, match="it cannot be reached"):
                files.fetch(f"{url}/{index}.bin")
        with pytest.raises(DownloadError, match="The last 8 files of .* cannot be fetched, such as"):
            files.fetch(f"{url}/last.bin")


def test_fingerprints_need_no_download_and_change_with_the_file(server: FileServer, tmp_path: Path) -> None:
    files = RemoteFiles(tmp_path / "cache", 100_000)
    urls = [f"{server.url}/{index}.bin" for index in range(10)]
    before = files.fingerprints(urls)
    assert len(set(before)) == 10
    assert server.count("GET") == 0
    for url in urls[:5]:
        files.fetch(url)
    assert files.fingerprints(urls) == before
    assert files.fingerprints(urls[:1]) == before[:1]
    server.tags["9.bin"] = '"new"'
    after = RemoteFiles(tmp_path / "cache", 100_000).fingerprints(urls)
    assert [one == other for one, other in zip(before, after, strict=True)] == [True] * 9 + [False]


def test_fingerprint_of_file_of_which_the_server_says_nothing_is_of_its_content(
    server: FileServer, tmp_path: Path
) -> None:
    server.tags["3.bin"] = None
    url = f"{server.url}/3.bin"
    before = RemoteFiles(tmp_path / "one", 10_000).fingerprints([url])
    assert server.count("GET") == 1
    assert RemoteFiles(tmp_path / "two", 10_000).fingerprints([url]) == before
    (server.folder / "3.bin").write_bytes(b"other")
    assert RemoteFiles(tmp_path / "three", 10_000).fingerprints([url]) != before


def test_fingerprint_of_missing_file_is_none(server: FileServer, tmp_path: Path) -> None:
    assert RemoteFiles(tmp_path / "cache", 10_000).fingerprints([f"{server.url}/gone.bin"]) == [None]


@pytest.mark.parametrize("url", ["ftp://example.org/a.png", "simplecache::s3://b/a.png", "reference://x"])
def test_check_of_unknown_protocol_is_refused(url: str, tmp_path: Path) -> None:
    protocol = url.partition("://")[0]
    with pytest.raises(DataError) as raised:
        RemoteFiles(tmp_path, 10_000).check([url])
    assert str(raised.value) == f"{url}: files are fetched by http, https, s3, gs, gcs, hf only, not by {protocol!r}."


@pytest.mark.parametrize(
    ("url", "module", "extra"),
    [("http://h/a", "aiohttp", "http"), ("s3://b/a", "s3fs", "s3"), ("gs://b/a", "gcsfs", "gcs")],
)
def test_check_without_the_package_names_the_extra(
    url: str, module: str, extra: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(DataError) as raised:
        RemoteFiles(tmp_path, 10_000).check([url])
    protocol = url.partition("://")[0]
    assert str(raised.value) == f"{protocol}:// needs the package {module}: pip install 'tl_toolkit[{extra}]'."


FORK = multiprocessing.get_context("fork")


def fetch_all(files: RemoteFiles, urls: list[str]) -> None:
    for url in urls:
        files.fetch(url)


def test_fetch_in_forked_processes_keeps_whole_files(server: FileServer, tmp_path: Path) -> None:
    files = RemoteFiles(tmp_path / "cache", 100_000)
    files.fetch(f"{server.url}/0.bin")  # The parent has threads and connections.
    urls = [f"{server.url}/{index}.bin" for index in range(10)]
    workers = [FORK.Process(target=fetch_all, args=(files, urls)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0] * 3
    assert stored(tmp_path / "cache") == list(range(10))


def test_fetch_after_a_kill_begins_anew(server: FileServer, tmp_path: Path) -> None:
    server.slow["3.bin"] = 0.05
    files = RemoteFiles(tmp_path / "cache", 10_000)
    worker = FORK.Process(target=files.fetch, args=(f"{server.url}/3.bin",))
    worker.start()
    while not list((tmp_path / "cache").glob("remote/*/.*.tmp")):
        time.sleep(0.01)
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGKILL)
    worker.join(60)
    assert stored(tmp_path / "cache") == []
    server.slow.clear()
    assert files.read(f"{server.url}/3.bin") == bytes([3]) * 1000
    left = list((tmp_path / "cache").glob("remote/*/.*.tmp"))
    assert len(left) == 1
    os.utime(left[0], (0, 0))
    RemoteFiles(tmp_path / "cache", 10_000).fetch(f"{server.url}/4.bin")
    assert not left[0].exists()


def test_remote_files_can_be_pickled(tmp_path: Path) -> None:
    files = pickle.loads(pickle.dumps(RemoteFiles(tmp_path, 123)))
    assert (files.folder, files.limit) == (tmp_path / "remote", 123)


def test_list_remote_files_gives_one_entry(server: FileServer, tmp_path: Path) -> None:
    assert list_remote_files(tmp_path / "cache") == []
    files = RemoteFiles(tmp_path / "cache", 10_000)
    for index in range(3):
        files.fetch(f"{server.url}/{index}.bin")
    (entry,) = list_remote_files(tmp_path / "cache")
    assert (entry.what, entry.images, entry.size, entry.path) == (
        "remote files",
        3,
        3000,
        tmp_path / "cache" / "remote",
    )


def test_disk_without_room_says_so(server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_files.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 10}))
    with pytest.raises(DownloadError, match=r"1000 B are to be fetched, but .*remote has 10 B"):
        RemoteFiles(tmp_path / "cache", 10_000).fetch(f"{server.url}/3.bin")


def test_made_file_is_made_once_and_goes_when_others_need_the_room(tmp_path: Path):
    files = RemoteFiles(tmp_path, 1000)
    made: list[str] = []

    def make(name: str, size: int = 400) -> Path:
        def write(path: Path) -> None:
            made.append(name)
            path.write_bytes(name.encode() * size)

        return files.make(name, write)

    first = make("a")
    assert (make("a"), first.read_bytes()) == (first, b"a" * 400)
    make("b")
    make("c")
    assert not first.exists(), "the least recently used file should have gone"
    assert made == ["a", "b", "c"]
    with pytest.raises(RemoteFileError, match=r"^d: it has 1\.2 KiB, and the cache of remote files may take 1000 B"):
        make("d", 1200)
    assert [path for path in tmp_path.rglob("*") if path.name.endswith(".tmp")] == []


def test_file_that_cannot_be_made_leaves_nothing(tmp_path: Path):
    def fail(path: Path) -> None:
        path.write_bytes(b"half")
        raise ValueError("damaged")

    with pytest.raises(ValueError, match="damaged"):
        RemoteFiles(tmp_path, 1000).make("a", fail)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
