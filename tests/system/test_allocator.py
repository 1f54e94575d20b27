"""What is computed with the allocator tuned and left alone, each in a process of its own."""

import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

import pytest
from torch.utils.data import DataLoader

from tl_toolkit.data.workers import WorkerMonitor
from tl_toolkit.errors import UsageError
from tl_toolkit.system import allocator

TRAIN = """
import sys
import torch
import tl_toolkit as tl
bits = []
for tune in ("linear-probe", "full"):  # Features, and a backward pass through every layer.
    out = f"{sys.argv[2]}/{tune}"
    run = tl.finetune(
        data=sys.argv[1], arch="timm:resnet10t", weights="none", image_size=64, epochs=1, tune=tune, out=out, seed=3
    )
    bits += [run.model.logits(sorted(sys.argv[3:])), run.model.module.state_dict()]
torch.save(bits, sys.argv[2] + "/bits.pt")
"""

FAULTS = """
import resource, sys
from tl_toolkit.system import allocator
if sys.argv[1] == "tuned":
    allocator.tune()
import torch
for _ in range(20):  # glibc keeps the ends of its first blocks, so that a few more do not fit between them.
    torch.empty(2**24).zero_()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    torch.empty(2**24).zero_()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def _bits(path: Path, photos: Path, allocator_setting: str) -> bytes:
    images = [str(image) for image in photos.rglob("*.png")]
    environment = {**os.environ, "TL_ALLOCATOR": allocator_setting, "TL_CACHE": str(path / "cache")}
    command = [sys.executable, "-c", TRAIN, str(photos), str(path), *images]
    subprocess.run(command, env=environment, check=True, capture_output=True)
    return (path / "bits.pt").read_bytes()


def test_tuned_allocator_changes_no_bit(photos: Path, tmp_path: Path):
    tuned, system = (_bits(tmp_path / name, photos, name) for name in ("tuned", "system"))
    assert tuned == system


@pytest.mark.skipif("CS_GNU_LIBC_VERSION" not in getattr(os, "confstr_names", ()), reason="needs glibc")
def test_tuned_allocator_gives_the_same_pages_again():
    faults = {
        name: int(subprocess.run([sys.executable, "-c", FAULTS, name], check=True, capture_output=True).stdout)
        for name in ("tuned", "system")
    }
    assert faults["tuned"] < faults["system"] / 20


def test_tune_of_an_unknown_allocator_says_which_there_are(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TL_ALLOCATOR", "jemalloc")
    with pytest.raises(UsageError, match=r"TL_ALLOCATOR is 'jemalloc'; it can be tuned \(the default\) or system."):
        allocator.tune()


@pytest.mark.parametrize(("system", "platform"), [("system", "linux"), ("tuned", "darwin"), ("tuned", "win32")])
def test_tune_leaves_other_allocators_alone(system: str, platform: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TL_ALLOCATOR", system)
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(allocator.ctypes, "CDLL", lambda _: pytest.fail("malloc was touched"))
    allocator.tune()


def test_tune_without_glibc_does_nothing(monkeypatch: pytest.MonkeyPatch):
    class Musl:
        def mallopt(self, *_: int) -> None:
            pytest.fail("malloc was touched")

    monkeypatch.setattr(allocator.ctypes, "CDLL", lambda _: Musl())
    allocator.tune()


class _Tuned:
    """Each item says whether this process should tune its allocator."""

    def __len__(self) -> int:
        return 1

    def __getitem__(self, _: int) -> str:
        return str(os.environ.get("TUNED_HERE"))


class _NotingTune(WorkerMonitor):
    def __call__(self, worker: int) -> None:
        allocator.tune = lambda: os.environ.update(TUNED_HERE="yes")
        super().__call__(worker)


def _name(index: int) -> str:
    return str(index)


@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
def test_worker_process_tunes_its_own_allocator(method: str):
    loader = DataLoader(
        _Tuned(), num_workers=1, worker_init_fn=_NotingTune(_name, 1), multiprocessing_context=method, batch_size=None
    )
    assert list(loader) == ["yes"]


THREAD = """
import resource, sys, threading
from tl_toolkit.system import allocator
allocator.tune()
if sys.argv[1] == "one":
    allocator.use_one_heap()
import torch

def compute():
    for _ in range(20):
        held = [torch.empty(10 * 2**20).zero_() for _ in range(2)]
        del held
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        held = [torch.empty(10 * 2**20).zero_() for _ in range(2)]
        del held
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)

thread = threading.Thread(target=compute)
thread.start()
thread.join()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")
def test_use_one_heap_keeps_the_memory_of_another_thread():
    def faults(heap: str) -> int:
        command = [sys.executable, "-c", THREAD, heap]
        environment = {**os.environ, allocator.VARIABLE: allocator.TUNED, "OMP_NUM_THREADS": "1"}
        return int(subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout)

    assert faults("own") >= faults("one") + 20  # At least a huge page in each round.
