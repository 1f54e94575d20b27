"""Memory and open files over many epochs of real runs, each in a process of its own."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.folders import copy_digits

SCRIPT = """
import gc, json, os, sys
from pathlib import Path
import tl_toolkit as tl
from tl_toolkit.events import EvalRecord

settings, marks = json.loads(sys.argv[1]), json.loads(sys.argv[2])
measured = {}

def listener(event):
    if isinstance(event, EvalRecord) and event.epoch in marks:
        gc.collect()
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        measured[event.epoch] = [pages * os.sysconf("SC_PAGE_SIZE"), len(os.listdir("/proc/self/fd"))]

tl.finetune(callback=listener, **settings)
print(json.dumps(measured))
"""

VARIANTS: dict[str, dict[str, object]] = {
    "linear-probe on features": {"tune": "linear-probe"},
    "full": {"tune": "full"},
    "full with workers": {"tune": "full", "workers": 2, "augment": "light"},
    "full with tensorboard": {"tune": "full", "tensorboard": True, "log_every": 1},
}

MOST_GROWTH = 4 * 2**20
"""Bytes of memory between two epochs. Measured: 0.2 to 0.4 MB, from epoch 5 to 30 and from 20 to 200; the record of an
epoch, which a run keeps, takes 1 KB of it. To leave the weights alone behind, 240 KB, would be 6 MB in 25 epochs."""

FAST, LONG = (5, 30), (20, 200)
CASES = [
    ("full", *FAST),
    *(pytest.param(name, *LONG, marks=pytest.mark.slow) for name in VARIANTS),
]


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory and open files are counted in /proc")
@pytest.mark.parametrize(("name", "first", "last"), CASES)
def test_run_of_many_epochs_grows_neither_memory_nor_open_files(name: str, first: int, last: int, tmp_path: Path):
    photos = copy_digits(tmp_path / "data", ["0", "1", "7"], 30)
    settings = {
        "data": str(photos),
        "arch": "lenet5",
        "weights": "none",
        "batch_size": 16,
        "out": str(tmp_path / "run"),
    }
    settings |= {"epochs": last, "checkpoint_every": "6"} | VARIANTS[name]
    command = [sys.executable, "-c", SCRIPT, json.dumps(settings), json.dumps([first, last])]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    measured = json.loads(done.stdout.splitlines()[-1])
    (memory, files), (later_memory, later_files) = measured[str(first)], measured[str(last)]
    print(f"{name}: {memory / 2**20:.2f} to {later_memory / 2**20:.2f} MB, {files} to {later_files} files")
    assert later_memory - memory <= MOST_GROWTH
    assert later_files == files
