"""What a run chooses on val, and what its model file then does with it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import tl_toolkit as tl
from tests.helpers.folders import copy_digits
from tl_toolkit.errors import TrainingError
from tl_toolkit.events import DecisionEvent, Event
from tl_toolkit.metrics.calibration import calibration_error
from tl_toolkit.model_file import read_metadata
from tl_toolkit.planning.budget import TimeBudget
from tl_toolkit.recipes.finetune import Run
from tl_toolkit.runs.predictions_file import read_predictions
from tl_toolkit.stages import novelty
from tl_toolkit.training.calibration import fit_temperature

NETWORK = {"arch": "timm:test_resnet", "weights": "none", "image_size": 32, "tune": "linear-probe", "val_split": 0.4}


def said(events: list[Event], what: str) -> list[tuple[str, str]]:
    return [(event.value, event.why) for event in events if isinstance(event, DecisionEvent) and event.what == what]


@pytest.fixture
def train(tiny_data: Path, tmp_path: Path) -> Any:
    """Runs, each with its events."""

    def run(**settings: Any) -> tuple[Run, list[Event]]:
        events: list[Event] = []
        given = {"data": tiny_data, "out": tmp_path / "run", **NETWORK, **settings}
        return tl.finetune(callback=events.append, **given), events

    return run


def test_finetune_writes_the_temperature_that_val_has(judged_run: Run):
    kept = read_predictions(judged_run.path)
    assert kept is not None
    expected = fit_temperature(kept["val"].logits, kept["val"].targets, kept["val"].loss)
    assert expected != 1
    assert read_metadata(judged_run.path / "model.safetensors").temperature == pytest.approx(expected)


def test_summary_has_the_figures_of_the_calibrated_probabilities(judged_run: Run):
    kept, temperature = read_predictions(judged_run.path), judged_run.model.metadata.temperature
    assert kept is not None
    for split in ("val", "test"):
        error = calibration_error(kept[split], temperature)
        assert judged_run.summary[f"{split}_calibration_error"] == pytest.approx(error, abs=1e-6)
        assert {"loss", "accuracy", "calibration_error"} <= judged_run.summary[f"{split}_intervals"].keys()
    loss = torch.nn.functional.cross_entropy(kept["val"].logits, kept["val"].targets)
    assert judged_run.summary["val_loss"] == pytest.approx(float(loss), abs=1e-5)


def test_finetune_says_what_the_temperature_is_worth(train: Any):
    run, events = train()
    temperature = run.model.metadata.temperature
    kept = read_predictions(run.path)
    assert kept is not None
    before, after = (100 * calibration_error(kept["val"], each) for each in (1.0, temperature))
    assert said(events, "calibrate") == [
        (
            f"temperature {temperature:.2f}",
            f"on 24 images of val: calibration error from {before:.1f} to {after:.1f} %",
        )
    ]
    assert after < before


def test_finetune_leaves_weights_and_ranking_as_they_are(judged_run: Run, tiny_data: Path):
    images = [str(path) for path in sorted((tiny_data / "test").rglob("*.png"))]
    calibrated = judged_run.model.predict(images)
    plain = judged_run.model.without_calibration().predict(images)
    assert [[each.class_name for each in one.top_k] for one in calibrated] == [
        [each.class_name for each in one.top_k] for one in plain
    ]
    logits = judged_run.model.logits(images)
    sure = logits.softmax(dim=1).amax(dim=1)
    assert torch.allclose(torch.tensor([one.probability for one in plain]), sure, atol=1e-6)
    scaled = (logits / judged_run.model.metadata.temperature).softmax(dim=1).amax(dim=1)
    assert torch.allclose(torch.tensor([one.probability for one in calibrated]), scaled, atol=1e-6)
    assert not torch.allclose(scaled, sure, atol=1e-3)


def test_finetune_with_few_images_in_val_calibrates_nothing(train: Any):
    run, events = train(val_split=0.1)
    assert run.model.metadata.temperature == 1
    assert run.model.metadata.novelty is None
    assert said(events, "calibrate") == [("none", "val has 6 images, and a temperature needs 10")]
    assert said(events, "unknown") == [("not flagged", "val has 6 images, and a threshold needs 10")]
    prediction = run.model.predict(torch.zeros(3, 32, 32).numpy().astype("uint8").transpose(1, 2, 0))
    assert (prediction.novelty, prediction.unknown, prediction.abstained) == (None, None, None)
    assert list(prediction.to_dict()) == ["path", "class_name", "probability", "top_k"]


def test_finetune_of_one_logit_calibrates_and_knows_unknown_images(train: Any, tmp_path: Path):
    copy_digits(tmp_path / "two", ["0", "1"], 30)
    run, events = train(data=tmp_path / "two", classes=1)
    assert run.model.metadata.one_logit
    assert run.model.metadata.temperature != 1
    assert [value for value, _ in said(events, "unknown")] == ["features of 36 training images"]


def test_finetune_of_soft_labels_calibrates_towards_their_shares(train: Any, tiny_data: Path):
    source = tl.open_source(tiny_data)
    samples = source.splits["train"]
    pixels = np.stack([np.asarray(samples.open(index, 3).resize((32, 32))) for index in range(len(samples))])
    rows = np.full((len(samples), 3), 0.1, np.float32)
    rows[np.arange(len(samples)), samples.targets] = 0.8
    run, events = train(data=(pixels, rows), task="soft")
    [(value, why)] = said(events, "calibrate")
    assert value == f"temperature {run.model.metadata.temperature:.2f}"
    assert why == "the likeliest on 24 images of val"
    assert run.model.metadata.novelty is not None
    assert run.model.predict(pixels[0], abstain_below=1.0).abstained


@pytest.mark.parametrize("loss", ["cross-entropy", "bce"])
def test_finetune_tells_on_how_many_images_the_threshold_was_chosen(loss: str, train: Any):
    run, events = train(loss=loss)
    note = run.model.metadata.novelty
    assert note is not None
    assert (note.train_images, note.val_images) == (36, 24)
    assert said(events, "unknown") == [
        (
            "features of 36 training images",
            f"flags {note.flagged} of 24 images of val, for false alarms in 5 % of known images",
        )
    ]


def test_finetune_that_cannot_take_enough_training_images_flags_nothing(train: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(novelty, "MAX_IMAGES", 11)
    run, events = train(feature_cache=False)
    assert run.model.metadata.novelty is None
    assert said(events, "unknown") == [
        ("not flagged", "it needs 4 training images of each class, and 11 images are the most")
    ]


def test_finetune_without_time_for_training_images_flags_nothing(train: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(TimeBudget, "remaining", lambda _: 0.0)
    run, events = train()
    assert run.model.metadata.novelty is None
    assert run.model.metadata.temperature != 1
    assert said(events, "unknown") == [
        ("not flagged", "it needs 4 training images of each class, and there is no time left")
    ]


def test_finetune_whose_training_images_cannot_be_judged_still_ends(train: Any, monkeypatch: pytest.MonkeyPatch):
    def fail(*_: object) -> None:
        raise TrainingError("The network gives no finite numbers.")

    monkeypatch.setattr(novelty, "predict_split", fail)
    run, events = train()
    assert run.model.metadata.novelty is None
    assert said(events, "unknown") == [("not flagged", "The network gives no finite numbers.")]


def test_finetune_takes_as_many_training_images_of_each_class(train: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(novelty, "MAX_IMAGES", 19)
    run, _ = train()
    note = run.model.metadata.novelty
    assert note is not None
    assert note.train_images == 18


def test_statistics_of_a_network_that_trained_whole_are_of_its_last_weights(train: Any, tiny_data: Path):
    run, _ = train(tune="full", epochs=1, batch_size=16)
    note = run.model.metadata.novelty
    assert note is not None
    detector = run.model.novelty
    assert detector is not None
    images = [str(path) for path in sorted((tiny_data / "train").rglob("*.png"))]
    logits, features = run.model.outputs(images)
    assert features is not None
    share = float((detector.novelty(features, logits) > detector.threshold).double().mean())
    assert share < 0.2  # Of other weights, nearly every image would be far away.
