import ctypes
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset, _utils, get_worker_info
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

import tl_toolkit as tl
from tl_toolkit.data import workers
from tl_toolkit.data.dataset import ImageDataset
from tl_toolkit.data.loaders import eval_loader, view_loader
from tl_toolkit.data.sources.base import open_source
from tl_toolkit.data.transforms import EvalTransform
from tl_toolkit.data.workers import report_worker_deaths
from tl_toolkit.errors import DataError, ImageError
from tl_toolkit.input_spec import InputSpec

SPEC = InputSpec(height=8, width=8)
DEADLY = 17
"""The side of an image that kills the process that decodes it."""


def segfault() -> None:
    ctypes.string_at(0)


def run_out_of_memory() -> None:
    """What the kernel does then."""
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(10)


def leave() -> None:
    os._exit(1)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A loader looks for dead workers after 0.2 s instead of 5 s."""
    monkeypatch.setattr(_MultiProcessingDataLoaderIter._try_get_data, "__defaults__", (0.2,))
    monkeypatch.setattr(_utils, "MP_STATUS_CHECK_INTERVAL", 0.2)


class Deadly(EvalTransform):
    """Kills its process, but not the tests', at one image."""

    def __init__(self, die: Callable[[], None]) -> None:
        super().__init__(SPEC)
        self.die = die

    def __call__(self, image: Image.Image) -> torch.Tensor:
        if image.width == DEADLY and get_worker_info():
            self.die()
        return super().__call__(image)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes of images, one of which is deadly."""
    for index in range(24):
        path = tmp_path / "photos" / str(index % 2) / f"{index:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (DEADLY if index == 13 else 8, 8)).save(path)
    return tmp_path / "photos"


@pytest.mark.parametrize(
    ("die", "how"),
    [(segfault, "Segmentation fault"), (run_out_of_memory, "Killed"), (leave, "exit code 1")],
)
def test_loader_whose_worker_dies_names_the_image_it_read(folder: Path, die: Callable[[], None], how: str):
    dataset = ImageDataset(open_source(folder).split("train"), Deadly(die))
    with pytest.raises(ImageError) as error, report_worker_deaths():
        for _ in eval_loader(dataset, 4, workers=2):
            pass
    assert error.value.name == str(folder / "1" / "13.png")
    assert error.value.reason.startswith(f"the worker process that read it died ({how}). If it was memory")


def test_view_loader_whose_worker_dies_names_the_image_it_read(folder: Path):
    dataset = ImageDataset(open_source(folder).split("train"), Deadly(segfault))
    order = [(torch.arange(24), torch.zeros(24, dtype=torch.long))]
    with pytest.raises(ImageError, match=r"13\.png: the worker process"), report_worker_deaths():
        list(view_loader(dataset, order, workers=1))


def test_loader_whose_worker_dies_between_two_images_says_so(folder: Path):
    dataset = ImageDataset(open_source(folder).split("train"), EvalTransform(SPEC))
    with (
        pytest.raises(DataError, match=r"A worker process died between two images \(Killed\)"),
        report_worker_deaths(),
    ):
        batches = iter(eval_loader(dataset, 2, workers=1))
        next(batches)
        time.sleep(0.5)  # Until it has read ahead as far as it does.
        os.kill(batches._workers[0].pid, signal.SIGKILL)
        list(batches)


def test_loader_whose_worker_dies_while_an_error_is_explained_says_so(folder: Path, monkeypatch: pytest.MonkeyPatch):
    """The system may report the death at any moment, also after the connection to the worker broke."""
    parse = workers._parse_deaths

    def parse_late(message: str) -> dict[int, str]:
        signal.raise_signal(signal.SIGCHLD)
        return parse(message)

    dataset = ImageDataset(open_source(folder).split("train"), EvalTransform(SPEC))
    with (
        pytest.raises(DataError, match=r"worker process .*died.* \(Killed\)"),  # On a busy machine it may still read.
        report_worker_deaths(),
    ):
        batches = iter(eval_loader(dataset, 2, workers=1))
        next(batches)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
        os.kill(batches._workers[0].pid, signal.SIGKILL)
        time.sleep(0.2)
        monkeypatch.setattr(workers, "_parse_deaths", parse_late)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
        raise ConnectionResetError("the worker is gone")


def test_naming_dead_workers_leaves_other_errors_alone():
    with pytest.raises(RuntimeError, match="out of memory"), report_worker_deaths():
        raise RuntimeError("out of memory")


class DeadlyDataset(Dataset):
    """A dataset of the user's own, one of whose items kills the worker that decodes it."""

    targets = [0, 1] * 20

    def __len__(self) -> int:
        return 40

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        if index == 31 and get_worker_info():
            segfault()
        return Image.new("RGB", (32, 32)), index % 2


@pytest.mark.parametrize("tune", ["full", "linear-probe"])
def test_finetune_whose_worker_dies_names_the_item(tmp_path: Path, tune: str):
    settings = {"arch": "lenet5_cifar", "weights": "none", "tune": tune, "epochs": 1, "workers": 1}
    with pytest.raises(ImageError, match=r"^image 31: the worker process that read it died \(Segmentation fault\)"):
        tl.finetune(data=DeadlyDataset(), out=tmp_path / "run", augment="light", **settings)
