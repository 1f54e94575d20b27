"""Runs on classes of unequal size."""

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import tl_toolkit as tl
from tests.helpers.folders import copy_digits
from tests.helpers.runs import assert_same_weights
from tl_toolkit.recipes.finetune import Run

Train = Callable[..., Run]


@pytest.fixture
def train(tmp_path: Path, tiny_settings: dict[str, Any]) -> Train:
    """Runs on forty eights and four ones, without smoothing; val has as many of both."""
    copy_digits(tmp_path / "data" / "train", ["8"], 40)
    copy_digits(tmp_path / "data" / "train", ["1"], 4)
    copy_digits(tmp_path / "data" / "val", ["1", "8"], 20, "test")
    count = 0

    def run(**settings: Any) -> Run:
        nonlocal count
        count += 1
        own = {"precision": "fp32", "tune": "linear-probe", "label_smoothing": 0.0}
        given = {**tiny_settings, **own, **settings}
        return tl.finetune(data=tmp_path / "data", out=tmp_path / f"run{count}", **given)

    return run


@pytest.mark.parametrize("remedy", [{"sampler": "balanced"}, {"class_weights": "balanced"}])
def test_finetune_with_a_remedy_believes_more_in_the_rare_class(train: Train, tmp_path: Path, remedy: dict[str, str]):
    images = [str(path) for path in sorted((tmp_path / "data" / "val").glob("*/*.png"))]
    plain, helped = (
        float(train(epochs=2, lr=0.001, **settings).model.logits(images).softmax(dim=1)[:, 0].mean())
        for settings in ({}, remedy)
    )
    assert helped > plain + 0.1


def test_finetune_that_is_balanced_gives_the_same_with_and_without_stored_features(train: Train):
    settings = {"sampler": "balanced", "views": 1, "probe_epochs": 2}
    assert_same_weights(train(**settings).path, train(**settings, feature_cache=False).path)


@pytest.mark.parametrize("remedy", [{"sampler": "balanced"}, {"class_weights": "balanced", "loss": "bce"}])
def test_finetune_of_everything_that_is_balanced_gives_the_same_with_workers(
    train: Train, small_settings: dict[str, Any], remedy: dict[str, str]
):
    settings = {**small_settings, "tune": "full", **remedy}
    assert_same_weights(train(**settings).path, train(**settings, workers=1).path)


def test_finetune_that_drops_copies_lists_them_and_is_done(
    tiny_data: Path, tiny_settings: dict[str, Any], tmp_path: Path
):
    folder = shutil.copytree(tiny_data, tmp_path / "data")
    first = min((folder / "train" / "0").iterdir())
    shutil.copy(first, folder / "test" / "0" / "leak.png")
    run = tl.finetune(data=folder, out=tmp_path / "run", duplicates="drop", **{**tiny_settings, "tune": "linear-probe"})
    summary = json.loads((run.path / "summary.json").read_text())
    assert summary["bad_images"] == []
    assert [image["path"] for image in summary["dropped_images"]] == [str(first)]
    with (run.path / "bad_images.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows == [{"split": "train", "path": str(first), "reason": f"also in test: {folder / 'test/0/leak.png'}"}]
