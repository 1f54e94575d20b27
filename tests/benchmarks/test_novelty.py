import tarfile
from pathlib import Path

import pytest
import torch

from tests.benchmarks import novelty
from tests.helpers.folders import copy_digits

NETWORK = {"arch": "timm:test_resnet", "weights": "none", "image_size": 32, "tune": "linear-probe", "val_split": 0.3}


@pytest.fixture
def digits(tmp_path: Path) -> Path:
    """Four classes with train and test."""
    for split, count in (("train", 15), ("test", 4)):
        copy_digits(tmp_path / "digits" / split, ["0", "1", "4", "7"], count, split)
    return tmp_path / "digits"


def test_auroc_counts_pairs_and_half_of_equal_ones():
    assert novelty.auroc(torch.tensor([0.0, 1.0]), torch.tensor([1.0, 2.0])) == 3.5 / 4


def test_divide_keeps_unknown_classes_out_of_both_splits(digits: Path, tmp_path: Path):
    known, unknown = novelty.divide(digits, 1, 0, tmp_path / "out")
    assert sorted([*known, *unknown]) == ["0", "1", "4", "7"]
    for split in ("train", "test"):
        assert sorted(path.name for path in (tmp_path / "out" / split).iterdir()) == known
    assert novelty.divide(digits, 1, 0, tmp_path / "again")[1] == unknown


def test_measure_gives_the_figures_of_each_set(digits: Path, tmp_path: Path):
    figures = novelty.measure(digits, 1, 0, [digits / "test" / "0"], tmp_path / "out", NETWORK)
    parts = ("novelty", "distance", "probability")
    assert list(figures)[:3] == ["accuracy", "false alarms", "header kB"]
    assert {f"{name}: AUROC, {part}" for name in ("left out", "0") for part in parts} < figures.keys()
    assert all(0 <= figures[name] <= 1 for name in figures if name != "header kB")


@pytest.mark.slow
def test_a_fifth_of_the_classes_left_out_are_told_from_the_others(real_data: Path, tmp_path: Path):
    with tarfile.open(real_data / "caltech101.tar") as archive:
        archive.extractall(tmp_path, filter="data")
    settings = {"arch": "tf_efficientnet_lite0", "tune": "linear-probe"}
    figures = novelty.measure(tmp_path / "caltech101", 21, 0, [], tmp_path / "out", settings)
    assert figures["left out: AUROC, novelty"] > 0.88
    assert figures["false alarms"] < 0.1
