"""Fast: every target on its seeds and some hundred changes of them. 100,000 guided executions of each: `-m slow`."""

import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.fuzz.mutating import mutator
from tests.fuzz.targets import TARGETS

CHANGES = 250
RUNS, MANY_RUNS = 300, 100_000


@pytest.fixture(autouse=True)
def _generators() -> Iterator[None]:
    """What a checkpoint restores is of this process."""
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()
    yield
    torch.set_rng_state(before[0])
    random.setstate(before[1])
    np.random.set_state(before[2])


@pytest.mark.parametrize("name", TARGETS)
def test_changed_data_end_well_or_with_a_toolkit_error(name: str):
    target = TARGETS[name]
    mutate, draw = mutator(target.json_after), random.Random(0)
    seeds = target.seeds()
    for data in [*seeds, *(mutate(draw.choice(seeds), draw) for _ in range(CHANGES))]:
        try:
            target.run(data)
        except BaseException:
            print(f"python -m tests.fuzz {name} --again FILE, where FILE has {data!r}")
            raise


def test_fuzzer_finds_nothing_in_a_short_run(tmp_path: Path):
    fuzz("config", RUNS, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
def test_fuzzer_finds_nothing_in_a_long_run(name: str, tmp_path: Path):
    fuzz(name, MANY_RUNS, tmp_path)


def fuzz(name: str, runs: int, folder: Path) -> None:
    """By atheris where it is installed, in a process that it ends."""
    command = [sys.executable, "-m", "tests.fuzz", name, "--runs", str(runs), "--crashes", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace")
    told = done.stdout + done.stderr
    assert done.returncode == 0, told[-5_000:]
    assert f"Done {runs} runs" in told
