"""Runs with several labels an image, and with soft labels: from targets to the saved file and back."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, f1_score

import tl_toolkit as tl
from tests.helpers.labels import NAMES, tiled_digits, write_table
from tests.helpers.runs import assert_same_run, stop_after
from tl_toolkit.data.sources.base import open_source
from tl_toolkit.errors import ConfigError, DataError, RunInterruptedError, UsageError
from tl_toolkit.events import DecisionEvent, Event, WarningEvent
from tl_toolkit.inference.scoring import remap_targets
from tl_toolkit.model_file import read_metadata
from tl_toolkit.recipes.finetune import Run

SMALL = {"arch": "timm:test_resnet", "weights": "none", "image_size": 32, "batch_size": 32, "threads": 1, "workers": 0}
LITE0 = {"arch": "timm:tf_efficientnet_lite0", "image_size": 64, "tune": "linear-probe", "threads": 1, "workers": 0}
Digits = tuple[NDArray[np.uint8], NDArray[np.float32]]


@pytest.fixture(scope="module")
def digits() -> Digits:
    return tiled_digits(240)


@pytest.fixture(scope="module")
def table(digits: Digits, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of the digits in two splits."""
    folder = tmp_path_factory.mktemp("labels") / "tiles"
    write_table(folder, *(part[:200] for part in digits), split="train")
    return write_table(folder, *(part[200:] for part in digits), split="test")


@pytest.fixture(scope="module")
def run(table: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A probe on frozen features of the table."""
    out = tmp_path_factory.mktemp("runs") / "run"
    return tl.finetune(data=table, label_separator=";", out=out, save=("full-model",), **LITE0)


def test_probe_is_as_good_as_a_logistic_regression_for_each_label(digits: Digits, run: Run):
    images, rows = digits
    order = [run.model.class_names.index(name) for name in NAMES]
    features = features_of(run, images)
    val = val_of(run, len(images))
    train = [index for index in range(200) if index not in val]
    test = list(range(200, 240))
    logits = run.model.logits(list(images[test]))[:, order].numpy()
    probes = [LogisticRegression(C=1 / (0.03 * len(train)), max_iter=1000) for _ in range(10)]
    scores = np.stack(
        [
            probe.fit(features[train], rows[train, at]).decision_function(features[test])
            for at, probe in enumerate(probes)
        ],
        axis=1,
    )
    own, theirs = (average_precision_score(rows[test], values, average="macro") for values in (logits, scores))
    result = run.summary["test_mean_average_precision"]
    error = run.summary["test_mean_average_precision_error"]
    assert result == pytest.approx(own, abs=0.01)  # The run computes features in bf16 where the CPU does.
    assert abs(own - theirs) < error
    assert own > average_precision_score(rows[test], np.zeros_like(scores), average="macro") + 5 * error


def features_of(run: Run, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return what the head of a run's network gets."""
    found = []
    head = run.model.module.get_submodule("classifier")
    hook = head.register_forward_pre_hook(lambda _, inputs: found.append(inputs[0].float()))
    run.model.logits(list(images))
    hook.remove()
    return torch.cat(found).numpy()


def val_of(run: Run, images: int) -> set[int]:
    """Return the places of val, by the contents that the model file notes."""
    from tl_toolkit.data.fingerprints import content_fingerprints

    source = open_source(run.summary["data"], label_separator=";")
    held = run.model.metadata.split_note.fingerprints("val")  # type: ignore[union-attr]
    prints = content_fingerprints(source.splits["train"])
    return {index for index, each in enumerate(prints) if each in held}


def test_summary_and_metrics_say_what_the_run_chose_by(run: Run):
    summary = run.summary
    assert (summary["task"], summary["loss"]) == ("multi-label", "bce")
    assert "class_accuracy" not in summary
    assert "val_accuracy" not in summary
    assert summary["stages"]["probe"].keys() == {"val_mean_average_precision", "epoch"}
    lines = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
    assert all({"val_mean_average_precision", "val_mean_average_precision_error"} <= line.keys() for line in lines)
    assert summary["refit_on_val"] is False
    assert list(summary["test_average_precision"]) == sorted(NAMES)


def test_model_file_holds_task_and_thresholds_of_val(run: Run):
    metadata = read_metadata(run.path / "model.safetensors")
    assert metadata.task == "multi-label"
    assert dict(zip(metadata.class_names, metadata.thresholds, strict=True)) == run.summary["val_threshold"]
    assert set(metadata.metrics) == {
        "val_mean_average_precision", "val_loss", "test_mean_average_precision", "val_images", "test_images",
    }  # fmt: skip
    pickled = tl.load(run.path / "full_model.pt")
    assert pickled.metadata == metadata
    assert pickled.predict(np.zeros((32, 32), np.uint8)) == run.model.predict(np.zeros((32, 32), np.uint8))


def test_evaluate_agrees_with_the_run_and_with_scikit_learn(run: Run, table: Path, digits: Digits):
    events: list[Event] = []
    source = open_source(table, label_separator=";")
    result = tl.evaluate(run.model, source, callback=events.append)
    assert result.split == "test"
    assert result.metrics["mean_average_precision"] == pytest.approx(
        run.summary["test_mean_average_precision"], abs=0.01
    )
    shown = remap_targets(source.splits["test"], source.class_names, run.model.class_names)
    rows = np.asarray(shown.targets)
    logits = torch.cat([run.model.logits([shown.name(index)]) for index in range(len(shown))])
    given = (logits.sigmoid() >= run.model.thresholds).numpy()
    assert result.metrics["micro_f1"] == pytest.approx(f1_score(rows, given, average="micro"))
    assert not [event for event in events if isinstance(event, WarningEvent)]
    assert result.class_accuracy == {}


def test_predict_gives_every_label_from_its_threshold_on(run: Run, digits: Digits):
    images = list(digits[0][200:])
    probabilities = run.model.logits(images).sigmoid()
    thresholds = run.model.thresholds
    assert thresholds is not None
    for row, prediction in zip(probabilities, run.model.predict(images, top_k=2), strict=True):
        assert prediction.labels is not None
        assert {label.class_name for label in prediction.labels} == {
            name for name, share, least in zip(run.model.class_names, row, thresholds, strict=True) if share >= least
        }
        shares = [label.probability for label in prediction.labels]
        assert shares == sorted(shares, reverse=True)
        assert len(prediction.top_k) == 2
        assert prediction.probability == pytest.approx(float(row.max()))
        assert list(prediction.to_dict()) == ["path", "labels", "top_k"]


def test_predict_with_a_threshold_of_the_users_own_gives_labels_from_it_on(run: Run, digits: Digits):
    image = digits[0][0]
    assert run.model.with_threshold(1.0).predict(image).labels == ()
    everything = run.model.with_threshold(0.0).predict(image).labels
    assert everything is not None
    assert len(everything) == 10
    with pytest.raises(UsageError, match="threshold is a probability from 0 to 1, not 1.5."):
        run.model.with_threshold(1.5)


def test_evaluate_matches_labels_by_name_in_any_order(run: Run, digits: Digits):
    images, rows = (part[200:] for part in digits)
    names = [[NAMES[at] for at in np.flatnonzero(row)] for row in rows]
    result = tl.evaluate(run.model, (images, names))
    by_number = np.argsort(NAMES)  # As the table's classes are sorted.
    assert tuple(np.asarray(NAMES)[by_number]) == run.model.class_names
    assert result.metrics["mean_average_precision"] == pytest.approx(
        average_precision_score(rows[:, by_number], run.model.logits(list(images)).numpy(), average="macro"), abs=1e-6
    )


def test_evaluate_with_labels_that_the_model_does_not_know_says_so(run: Run, digits: Digits):
    with pytest.raises(DataError, match="The model does not know 1 of the data's 2 classes: owl."):
        tl.evaluate(run.model, (digits[0][:2], [["owl", "one"], []]))


def test_evaluate_without_some_of_the_labels_says_that_they_count_as_wrong(run: Run, digits: Digits):
    events: list[Event] = []
    tl.evaluate(run.model, (digits[0][:2], [["one", "two"], ["two"]]), callback=events.append)
    warnings = [event.message for event in events if isinstance(event, WarningEvent)]
    assert warnings[0] == (
        "arrays has no label eight, five, four, nine, seven and 3 more, which the model knows: images that are given "
        "one count as wrong."
    )


def test_evaluate_on_data_of_one_class_an_image_says_that_they_cannot_be_compared(run: Run):
    with pytest.raises(DataError) as raised:
        tl.evaluate(run.model, open_source("digits"))
    assert str(raised.value) == (
        "The model gives an image any number of labels (multi-label), but in digits an image has one class "
        "(multi-class), so they cannot be compared."
    )


@pytest.mark.parametrize("settings", [{"tune": "full", "epochs": 2, "mixup": 0.2}, {"tune": "lp-ft", "epochs": 1}])
def test_run_with_several_labels_stopped_and_resumed_has_the_same_bits(
    settings: dict[str, Any], digits: Digits, tmp_path: Path
):
    given = {**SMALL, **settings, "log_every": 2, "checkpoint_every": "1", "class_weights": "balanced"}
    whole = tl.finetune(data=digits, out=tmp_path / "whole", **given)
    with pytest.raises(RunInterruptedError):
        tl.finetune(data=digits, out=tmp_path / "stopped", callback=stop_after(4), **given)
    resumed = tl.resume(tmp_path / "stopped", data=digits)
    assert_same_run(whole.path, resumed.path)
    assert resumed.model.metadata.thresholds == whole.model.metadata.thresholds


def test_resume_with_other_labels_says_that_they_changed(digits: Digits, tmp_path: Path):
    images, rows = digits
    with pytest.raises(RunInterruptedError):
        tl.finetune(data=digits, out=tmp_path / "run", callback=stop_after(1), **SMALL, tune="full", epochs=2)
    others = rows.copy()
    others[0] = 1 - others[0]
    with pytest.raises(UsageError, match="cannot be resumed exactly"):
        tl.resume(tmp_path / "run", data=(images, others))


def test_run_of_soft_labels_learns_shares(digits: Digits, tmp_path: Path):
    images, rows = digits
    shares = rows / rows.sum(axis=1, keepdims=True)
    run = tl.finetune(data=(images, shares), out=tmp_path / "run", **LITE0)
    assert run.model.task == "soft"
    assert run.summary["task"] == "soft"
    assert {"val_accuracy", "val_kl_divergence", "val_loss"} <= run.summary.keys()
    assert float(run.model.logits([images[0]]).softmax(dim=1).sum()) == pytest.approx(1)
    assert run.model.predict(images[0]).labels is None
    uniform = np.log(10) - float(torch.special.entr(torch.from_numpy(shares)).sum(dim=1).mean())
    assert run.summary["val_kl_divergence"] < uniform
    with pytest.raises(
        UsageError, match="threshold is for models that give an image several labels; this one, of soft"
    ):
        run.model.with_threshold(0.5)
    shutil.rmtree(run.path)


def test_auto_ranks_networks_and_chooses_stages_by_mean_average_precision(digits: Digits, tmp_path: Path):
    events: list[Event] = []
    run = tl.finetune(data=digits, out=tmp_path / "run", callback=events.append, threads=1, workers=0, image_size=64)
    decisions = [event for event in events if isinstance(event, DecisionEvent)]
    [arch] = [event.why for event in decisions if event.what == "arch"]
    assert "in a probe: mAP" in arch
    assert all("px mAP" in event.value for event in decisions if event.what == "ranked")
    assert run.summary["best_stage"] in run.summary["stages"]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (np.ones((40, 3)), "All 36 images of train have the same labels, 0 + 1 + 2: nothing can be told apart."),
        (np.zeros((40, 3)), "All 36 images of train have the same labels, no label: nothing can be told apart."),
    ],
)
def test_run_whose_images_all_have_the_same_labels_says_so(rows: Any, message: str, digits: Digits, tmp_path: Path):
    with pytest.raises(DataError) as raised:
        tl.finetune(data=(digits[0][:40], rows), out=tmp_path / "run", **SMALL)
    assert str(raised.value) == message


def test_run_with_a_single_label_says_to_make_it_two_classes(digits: Digits, tmp_path: Path):
    with pytest.raises(DataError) as raised:
        tl.finetune(data=(digits[0][:4], [["cat"], [], ["cat"], []]), out=tmp_path / "run", **SMALL)
    assert str(raised.value) == (
        "arrays has one label only (cat). For a yes or no, give each image one of two classes."
    )


def test_run_with_settings_that_contradict_the_labels_says_so(digits: Digits, tmp_path: Path):
    with pytest.raises(ConfigError, match="loss must be bce with several labels an image"):
        tl.finetune(data=digits, out=tmp_path / "run", loss="cross-entropy", **SMALL)
    with pytest.raises(ConfigError, match="separates two classes by one logit; several labels an image"):
        tl.finetune(data=digits, out=tmp_path / "run", classes=1, **SMALL)


def test_label_without_images_in_train_is_told_and_kept(digits: Digits, tmp_path: Path):
    images, rows = digits
    events: list[Event] = []
    more = np.concatenate([rows, np.zeros((len(rows), 1), np.float32)], axis=1)
    run = tl.finetune(data=(images, more), out=tmp_path / "run", callback=events.append, **SMALL, tune="full", epochs=1)
    warnings = [event.message for event in events if isinstance(event, WarningEvent)]
    assert "train has no image with 10: the model will hardly ever say so." in warnings
    assert "10" not in run.summary["val_average_precision"]
    assert len(run.model.metadata.thresholds) == 11


def test_ten_thousand_labels_are_learned(digits: Digits, tmp_path: Path):
    images, _ = digits
    rows = np.zeros((len(images), 10_000), np.float32)
    rows[np.arange(len(images)), np.arange(len(images)) % 50] = 1
    rows[np.arange(len(images)), 100 + np.arange(len(images)) % 7] = 1
    run = tl.finetune(data=(images, rows), out=tmp_path / "run", **SMALL, tune="full", epochs=1)
    assert len(run.model.metadata.thresholds) == 10_000
