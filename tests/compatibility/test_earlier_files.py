"""Files of an earlier version: a run, a run killed in the middle of an epoch, a full model and a cache.

`written/` was made by 0.1.0 at commit a5fb493 from 60 digits in `images.npz`: LeNet-5, four epochs, one thread.
"""

import json
import shutil
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

import tl_toolkit as tl
from tests.helpers.exports import export_network
from tl_toolkit.events import DecisionEvent, Event
from tl_toolkit.recipes.finetune import Run
from tl_toolkit.runs.metrics_log import read_metrics
from tl_toolkit.runs.summary import read_summary

WRITTEN = Path(__file__).parent / "written"
ROUNDING = {"rtol": 1e-4, "atol": 1e-5}
"""Other CPUs round sums otherwise. On the CPU that wrote the files the bits are the same."""


@pytest.fixture(scope="module")
def pixels() -> tuple[np.ndarray, np.ndarray]:
    """Images (60, 8, 8) and targets (60)."""
    with np.load(WRITTEN / "images.npz") as arrays:
        return arrays["images"], arrays["targets"]


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return Path(shutil.copytree(WRITTEN, tmp_path / "written"))


def predictions(model: Any, images: np.ndarray) -> dict[str, list[list[Any]]]:
    expected = json.loads((WRITTEN / "predictions.json").read_text())
    found = {index: model.predict(Image.fromarray(images[int(index)])) for index in expected}
    return {index: [[each.class_name, each.probability] for each in result.top_k] for index, result in found.items()}


def assert_predicts_as_before(model: Any, images: np.ndarray) -> None:
    expected = json.loads((WRITTEN / "predictions.json").read_text())
    for index, classes in predictions(model, images).items():
        assert [name for name, _ in classes] == [name for name, _ in expected[index]]
        assert [share for _, share in classes] == pytest.approx([share for _, share in expected[index]], rel=1e-3)


@pytest.mark.parametrize("file", ["", "model.safetensors", "full_model.pt"])
def test_predict_with_an_earlier_model_gives_what_it_gave(file: str, pixels: tuple[np.ndarray, np.ndarray]) -> None:
    assert_predicts_as_before(tl.load(WRITTEN / "finished" / file), pixels[0])


def test_read_of_an_earlier_run_gives_its_results() -> None:
    summary = read_summary(WRITTEN / "finished")
    records = read_metrics(str(WRITTEN / "finished"))
    assert summary is not None
    assert [record.epoch for record in records] == [1, 2, 3, 4]
    assert summary["best_epoch"] in range(1, 5)
    assert summary["stages"]["tune"]["val_accuracy"] == summary["val_accuracy"]


def test_evaluate_of_an_earlier_model_knows_what_it_learned_from(pixels: tuple[np.ndarray, np.ndarray]) -> None:
    result = tl.evaluate(tl.load(WRITTEN / "finished"), pixels, threads=1)
    summary = json.loads((WRITTEN / "finished" / "summary.json").read_text())
    assert (result.split, result.scores.images) == ("val", 6)
    assert result.scores.accuracy == pytest.approx(summary["val_accuracy"])


@pytest.mark.parametrize("form", ["state-dict", "full-model", "safetensors"])
def test_export_of_an_earlier_model_has_its_weights(form: Any, tmp_path: Path) -> None:
    model, path = tl.load(WRITTEN / "finished"), tmp_path / "exported"
    export_network(model.module, model.metadata, form, path)
    before = load_file(WRITTEN / "finished" / "model.safetensors")
    if form == "safetensors":
        after = load_file(path)
    elif form == "state-dict":
        after = torch.load(path, weights_only=True)
    else:
        after = tl.load(path).module.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], before[name]) for name in before)


def test_resume_of_an_earlier_killed_run_ends_with_its_weights(
    written: Path, pixels: tuple[np.ndarray, np.ndarray]
) -> None:
    run: Run = tl.resume(written / "killed", data=pixels)
    expected = load_file(WRITTEN / "finished" / "model.safetensors")
    found = load_file(run.path / "model.safetensors")
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, **ROUNDING)


def test_finetune_with_an_earlier_cache_computes_nothing_again(
    written: Path, pixels: tuple[np.ndarray, np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    [entry] = (written / "cache").rglob("entry.json")
    key = json.loads(entry.read_text())["key"]
    if any(version(name) != number for name, number in key["versions"].items()):
        pytest.skip("features of other versions of torch, torchvision, timm or Pillow are computed anew")
    monkeypatch.setenv("TL_CACHE", str(written / "cache"))
    told: list[Event] = []
    tl.finetune(
        data=pixels, arch="lenet5", weights="none", tune="linear-probe", batch_size=8, augment="light", threads=1,
        workers=0, out=tmp_path / "run", precision=key["precision"], callback=told.append,
    )  # fmt: skip
    features = [event.why for event in told if isinstance(event, DecisionEvent) and event.what == "features"]
    assert features
    assert all(why.startswith("all from") for why in features)
