import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

from tl_toolkit.data.dataset import eval_images
from tl_toolkit.data.image_sets import FileImages
from tl_toolkit.data.images import open_image
from tl_toolkit.data.loaders import eval_loader
from tl_toolkit.data.quality.readability import check_splits
from tl_toolkit.data.samples import Samples
from tl_toolkit.data.workers import report_worker_deaths
from tl_toolkit.errors import DataError, ImageError
from tl_toolkit.input_spec import InputSpec
from tl_toolkit.io import reader_threads as reading

HOLD = """
import fcntl, signal, sys, time
signal.signal(signal.SIGIO, signal.SIG_IGN)
held = [open(path, "r+b") for path in sys.argv[1:]]
for file in held:
    fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)
print("held", flush=True)
time.sleep(60)
"""
"""Takes a lease on files: who opens one waits in the kernel until it is given back, here for 45 s (fcntl(2))."""

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has leases, which make a file hang")


@pytest.fixture
def hang() -> Iterator[Callable[..., None]]:
    """Makes files hang for whoever opens them."""
    holders: list[subprocess.Popen[str]] = []

    def hang(*paths: Path) -> None:
        holder = subprocess.Popen([sys.executable, "-c", HOLD, *paths], stdout=subprocess.PIPE, text=True)
        holders.append(holder)
        assert holder.stdout.readline() == "held\n"

    yield hang
    for holder in holders:
        holder.kill()
        holder.wait()
        holder.stdout.close()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four looks in a fifth of a second are enough."""
    monkeypatch.setattr(reading, "POLL_SECONDS", 0.05)
    monkeypatch.setattr(reading, "STALL_POLLS", 4)


def images(folder: Path, count: int) -> list[Path]:
    paths = [folder / f"{index}.png" for index in range(count)]
    for path in paths:
        Image.new("RGB", (8, 8)).save(path)
    return paths


@pytest.mark.usefixtures("impatient")
def test_reading_a_file_that_does_not_answer_gives_it_up_and_reads_the_others(
    tmp_path: Path, hang: Callable[..., None]
):
    paths = images(tmp_path, 20)
    hang(paths[3], paths[4])
    outcomes = reading.ReaderPool(2).start(open_image, paths).outcomes()
    for index, outcome in enumerate(outcomes):
        assert isinstance(outcome, ImageError if index in (3, 4) else Image.Image)
    assert str(outcomes[3]) == f"{paths[3]}: the file system did not answer for 0 s"


@pytest.mark.usefixtures("impatient")
def test_threads_that_were_given_up_end_when_the_file_answers(tmp_path: Path):
    answer = threading.Event()

    def read(path: str) -> str:
        with reading.reading(path):
            if path == "slow":
                answer.wait()
        return path

    readers = reading.ReaderPool(1)
    slow, quick = readers.start(read, ["slow", "quick"]).outcomes()
    assert isinstance(slow, ImageError)
    assert quick == "quick"
    assert sum(thread.is_alive() for thread in readers._threads) == 2
    answer.set()
    for _ in range(100):
        if sum(thread.is_alive() for thread in readers._threads) == 1:
            break
        time.sleep(0.01)
    assert readers.start(read, ["a", "b"]).results() == ["a", "b"]
    assert sum(thread.is_alive() for thread in readers._threads) == 1
    assert readers._given_up == 0


@pytest.mark.usefixtures("impatient")
def test_reading_that_goes_on_is_never_given_up():
    def read(count: int) -> int:
        for _ in range(count):  # A folder that takes long, but answers.
            with reading.reading("folder"):
                time.sleep(0.1)
        time.sleep(0.5)  # What is no reading may take as long as it likes.
        return count

    assert reading.ReaderPool(1).start(read, [6]).results() == [6]


@pytest.mark.usefixtures("impatient")
def test_reading_where_nothing_answers_ends_with_advice(
    tmp_path: Path, hang: Callable[..., None], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(reading, "MAX_GIVEN_UP", 3)
    paths = images(tmp_path, 8)
    hang(*paths)
    with pytest.raises(DataError, match=r"Of 3 files the file system did not answer, the last is .*\d\.png\. Look"):
        reading.ReaderPool(2).start(open_image, paths).outcomes()


@pytest.mark.usefixtures("impatient")
def test_check_splits_with_a_file_that_does_not_answer_lists_it(
    tmp_path: Path, hang: Callable[..., None], monkeypatch: pytest.MonkeyPatch
):
    paths = images(tmp_path, 5)
    hang(paths[2])
    samples = Samples(FileImages([str(path) for path in paths]), [0] * 5)
    checked = check_splits({"train": samples}, lambda event: None)["train"]
    assert [(image.path, image.reason) for image in checked.bad] == [
        (str(paths[2]), "the file system did not answer for 0 s")
    ]
    assert len(checked.results) == 4


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("workers", [0, 1])
def test_loader_with_a_file_that_does_not_answer_names_it(
    tmp_path: Path, hang: Callable[..., None], workers: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(_MultiProcessingDataLoaderIter._try_get_data, "__defaults__", (0.2,))  # Instead of 5 s.
    paths = images(tmp_path, 5)
    hang(paths[4])
    dataset = eval_images(Samples(FileImages([str(path) for path in paths]), [0] * 5), InputSpec(height=8, width=8))
    with pytest.raises(ImageError, match=r"4\.png: the file system did not answer for 0 s$"), report_worker_deaths():
        list(eval_loader(dataset, 2, workers))


LEAVE = """
import sys
from tl_toolkit.io import reader_threads as reading
from tl_toolkit.data.images import open_image
reading.POLL_SECONDS, reading.STALL_POLLS = 0.05, 4
print(reading.readers().start(open_image, sys.argv[1:]).outcomes())
"""


def test_process_with_a_file_that_does_not_answer_can_leave(tmp_path: Path, hang: Callable[..., None]):
    [path] = images(tmp_path, 1)
    hang(path)
    done = subprocess.run([sys.executable, "-c", LEAVE, path], capture_output=True, text=True, timeout=40, check=True)
    assert "the file system did not answer" in done.stdout
    assert done.stderr == ""


NAP = """
import time
from tl_toolkit.io import reader_threads as reading
reading.POLL_SECONDS, reading.STALL_POLLS = 0.1, 15
def read(path):
    with reading.reading(path):
        print("started", flush=True)
        time.sleep(0.5)
    return path
print(reading.ReaderPool(1).start(read, ["a"]).outcomes())
"""


def test_reading_while_the_process_is_stopped_gives_nothing_up(tmp_path: Path):
    child = subprocess.Popen([sys.executable, "-c", NAP], stdout=subprocess.PIPE, text=True)
    assert child.stdout.readline() == "started\n"
    os.kill(child.pid, signal.SIGSTOP)
    time.sleep(2)
    os.kill(child.pid, signal.SIGCONT)
    assert child.communicate(timeout=20)[0] == "['a']\n"


def test_results_raise_what_the_function_raised():
    def fail(item: int) -> None:
        raise KeyError(item)

    with pytest.raises(KeyError):
        reading.readers().start(fail, [1, 2]).results()
    assert reading.readers().start(fail, []).results() == []
