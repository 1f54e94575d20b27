"""What the tutorials' recipes use: one logit, classic networks, steps followed, datasets that are random."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from PIL import Image
from torch import nn

import tl_toolkit as tl
from tests.helpers.folders import copy_digits
from tl_toolkit.errors import ConfigError, UnknownNameError
from tl_toolkit.events import DecisionEvent, Event


def test_finetune_with_one_logit_tells_two_classes_apart(tmp_path: Path, tiny_settings: dict[str, Any]):
    data = copy_digits(tmp_path / "data", ["0", "1"], 30)
    events: list[Event] = []
    settings = {**tiny_settings, "epochs": 3, "classes": 1}
    run = tl.finetune(data=data, out=tmp_path / "run", callback=events.append, **settings | {"tune": "full"})
    assert run.summary["loss"] == "bce"
    assert run.summary["val_accuracy"] == 1
    assert run.model.module.fc.out_features == 1
    assert DecisionEvent("head", "swap", "one logit: 0 or more is 1") in events
    images = sorted((data / "1").iterdir())[:3]
    logits = tl.load(run.path).logits(images)
    assert logits.shape == (3, 1)
    for logit, said in zip(logits, run.model.predict(images), strict=True):
        assert (said.class_name == "1") == bool(logit >= 0)
        assert len(said.top_k) == 2
        assert sum(each.probability for each in said.top_k) == pytest.approx(1)
    assert tl.evaluate(run.model, data).scores.accuracy > 0.9


@pytest.mark.parametrize("tune", ["lp-ft", "full"])
def test_finetune_with_bce_of_several_classes_learns(
    tiny_data: Path, tmp_path: Path, small_settings: dict[str, Any], tune: str
):
    run = tl.finetune(
        data=tiny_data, out=tmp_path / "run", loss="bce", **{**small_settings, "tune": tune, "epochs": 4, "lr": 2e-3}
    )
    assert run.summary["test_accuracy"] > 0.5
    assert run.model.metadata.loss == "bce"


def test_finetune_of_one_logit_with_three_classes_says_so(photos: Path, tmp_path: Path):
    with pytest.raises(
        ConfigError, match=r"classes is 1, one logit for two classes, but photos has 3 classes \(0, 1, 7\)"
    ):
        tl.finetune(data=photos, classes=1, weights="bundled", out=tmp_path / "run")


def test_finetune_of_a_classic_network_from_colour_photos_converts_them(tmp_path: Path):
    data = tmp_path / "data"
    for name, color in (("dark", (40, 10, 10)), ("light", (220, 250, 230))):
        (data / name).mkdir(parents=True)
        for index in range(24):
            Image.new("RGB", (60 + index, 41), color).save(data / name / f"{index}.jpg")
    run = tl.finetune(
        arch="lenet5",
        weights="none",
        tune="full",
        data=data,
        epochs=6,
        lr=0.01,
        augment="pad-crop",
        out=tmp_path / "run",
    )
    assert run.model.input_spec.channels == 1
    assert run.summary["val_accuracy"] == 1
    assert run.model.predict(data / "light" / "0.jpg").class_name == "light"


def test_finetune_with_options_of_the_network_keeps_them_in_the_model(photos: Path, tmp_path: Path):
    settings = {"arch": "cifar10_cnn", "weights": "none", "tune": "full", "epochs": 1, "augment": "none"}
    run = tl.finetune(data=photos, arch_options={"activation": "relu"}, out=tmp_path / "run", **settings)
    loaded = tl.load(run.path)
    assert loaded.metadata.arch_options == {"activation": "relu"}
    assert sum(isinstance(layer, nn.ReLU) for layer in loaded.module.modules()) == 4
    assert yaml.safe_load((run.path / "config.yaml").read_text())["arch_options"] == ["activation=relu"]
    with pytest.raises(
        UnknownNameError, match="No option of cifar10_cnn is named 'aktivation'. Did you mean activation"
    ):
        tl.finetune(data=photos, arch_options=("aktivation=relu",), out=tmp_path / "other", **settings)


def test_finetune_evaluated_every_few_steps_keeps_the_best_and_notes_each(
    tiny_data: Path, tmp_path: Path, small_settings: dict[str, Any]
):
    run = tl.finetune(
        data=tiny_data, out=tmp_path / "run", eval_every=2, log_every=3, **small_settings | {"tune": "full"}
    )
    lines = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
    assert [(line["step"], "val_loss" in line) for line in lines] == [(2, True), (3, False), (4, True)]
    assert run.summary["val_accuracy"] == max(line["val_accuracy"] for line in lines if "val_loss" in line)


def test_finetune_of_a_random_dataset_keeps_its_randomness(tmp_path: Path):
    """A dataset of the user's own may augment its images: they are not held in memory as they were once."""
    given: set[bytes] = set()

    class Noisy(torch.utils.data.Dataset[Any]):
        targets = [0, 1] * 10

        def __len__(self) -> int:
            return 20

        def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
            image = torch.rand(1, 28, 28)
            given.add(image.numpy().tobytes())
            return image, index % 2

    settings = {"arch": "lenet5", "weights": "none", "tune": "full", "augment": "none", "lr": 0.001}
    tl.finetune(data=Noisy(), epochs=3, out=tmp_path / "run", **settings)
    assert len(given) > 3 * 18
