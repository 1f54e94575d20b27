"""Every file of weights that a run writes, cut short and with bits flipped: none is taken for what it was."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import tl_toolkit as tl
from tests.helpers.folders import copy_digits
from tl_toolkit.errors import ModelFileError, WeightsError
from tl_toolkit.models.weights.files import read_weight_file
from tl_toolkit.runs.checkpoint import Checkpoint

CUTS, FLIPS = 60, 240
LENGTH_BYTES = 8

Read = Callable[[Path], dict[str, torch.Tensor]]


def of_model(path: Path) -> dict[str, torch.Tensor]:
    return tl.load(path, device="cpu", precision="fp32").module.state_dict()


def of_checkpoint(path: Path) -> dict[str, torch.Tensor]:
    kept = Checkpoint.read(path)
    assert kept
    return dict(kept.state.tensors)


def of_weights(path: Path) -> dict[str, torch.Tensor]:
    return read_weight_file(path).state


READERS: dict[str, tuple[Read, Any]] = {
    "model.safetensors": (of_model, ModelFileError),
    "last.safetensors": (of_model, ModelFileError),
    "checkpoint.safetensors": (of_checkpoint, ModelFileError),
    "last.safetensors as --weights": (of_weights, WeightsError),
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("damage")
    data = copy_digits(folder / "data", ["0", "1"], 12)
    settings = {"arch": "lenet5", "weights": "none", "tune": "full", "epochs": 2}
    return tl.finetune(data=data, out=folder / "run", **settings).path


@pytest.mark.parametrize("name", READERS)
def test_file_cut_short_anywhere_is_refused(name: str, run: Path, tmp_path: Path):
    read, error = READERS[name]
    whole = (run / name.split()[0]).read_bytes()
    path = tmp_path / "cut.safetensors"
    for at in cut_points(whole):
        path.write_bytes(whole[:at])
        with pytest.raises(error):
            read(path)


@pytest.mark.parametrize("name", READERS)
def test_file_with_a_bit_flipped_anywhere_is_refused(name: str, run: Path, tmp_path: Path):
    read, error = READERS[name]
    whole = (run / name.split()[0]).read_bytes()
    draw = random.Random(0)
    start = LENGTH_BYTES + int.from_bytes(whole[:LENGTH_BYTES], "little")
    places = [draw.randrange(start) for _ in range(FLIPS // 2)]
    places += [draw.randrange(start, len(whole)) for _ in range(FLIPS // 2)]
    sealing = range(whole.index(b'"digest"') + 1, whole.index(b'"digest"') + 7)  # Without it, all else is as it was.
    path = tmp_path / "flipped.safetensors"
    for place in {0, LENGTH_BYTES, start - 1, start, len(whole) - 1, *places} - set(sealing):
        flipped = bytearray(whole)
        flipped[place] ^= 1 << draw.randrange(8)
        path.write_bytes(flipped)
        with pytest.raises(error):
            read(path)
            print(f"byte {place} of {len(whole)}, {start} of them header")


def test_file_that_ends_in_zeros_says_that_it_is_damaged(run: Path, tmp_path: Path):
    """As a copy that was broken off leaves it, where the system had set aside the room."""
    whole = (run / "model.safetensors").read_bytes()
    path = tmp_path / "model.safetensors"
    path.write_bytes(whole[: len(whole) // 2].ljust(len(whole), b"\0"))
    with pytest.raises(ModelFileError, match="is damaged: the digest of its content is .* copy it again"):
        tl.load(path)


def cut_points(whole: bytes) -> list[int]:
    header = LENGTH_BYTES + int.from_bytes(whole[:LENGTH_BYTES], "little")
    even = [len(whole) * part // CUTS for part in range(CUTS)]
    return sorted({1, LENGTH_BYTES - 1, LENGTH_BYTES, header - 1, header, header + 1, len(whole) - 1, *even})
