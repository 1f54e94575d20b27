"""`tl evaluate` as a person types it."""

import csv
import io
import json
import re
from pathlib import Path

import pytest
import torch

from tests.helpers.folders import copy_digits
from tests.helpers.terminal import run_tl
from tl_toolkit.cli.evaluation import print_evaluation
from tl_toolkit.metrics.base import ScoreMeter
from tl_toolkit.metrics.predictions import Predictions
from tl_toolkit.recipes.evaluate import Evaluation
from tl_toolkit.recipes.finetune import Run
from tl_toolkit.training.losses import Criterion


def test_evaluate_of_the_runs_own_images_judges_what_it_has_not_seen(photos: Path, in_folder: Path):
    arguments = ["--arch", "lenet5", "--weights", "none", "--tune", "full", "--epochs", 1, "--val-split", 0.2]
    assert run_tl("finetune", "--data", photos, *arguments, "--quiet").exit_code == 0
    done = run_tl("evaluate")
    assert done.exit_code == 0, done.output
    assert "split       val of the run  6 of 30 images; the model learned from the rest" in done.stderr
    assert "photos, val of the run" in done.stdout
    assert re.search(r"seen +none in training\n", done.stdout)
    as_json = json.loads(run_tl("evaluate", "--json").stdout)
    keys = ("split", "split_of_run", "images", "seen_images", "left_out_images")
    assert [as_json[key] for key in keys] == ["val", True, 6, 0, 24]
    train = run_tl("evaluate", "--split", "train")
    assert re.search(r"seen +24 \(80.0 %\) in training\n", train.stdout)
    assert "The model learned from 24 of these 30 images (80.0 %)" in train.stderr
    grid = run_tl("predict", "--grid", "grid.png")
    assert "split       val of the run  6 of 30 images; the model learned from the rest" in grid.stderr
    assert re.search(r"grid\.png  val of the run, photos, 6 images, \d of 6 right", grid.stderr)


def test_evaluate_prints_top1_and_each_class(tiny_run: Run):
    done = run_tl("evaluate", "--model", tiny_run.path)
    assert done.exit_code == 0, done.output
    assert "what the model was trained on" in done.stderr
    assert "accuracy" in done.stdout
    as_json = json.loads(run_tl("evaluate", "--model", tiny_run.path, "--json").stdout)
    assert as_json["accuracy"] == tiny_run.summary["test_accuracy"]
    assert list(as_json["class_accuracy"]) == ["0", "1", "7"]


def test_evaluate_prints_figures_with_intervals_then_classes_then_mistakes(photos: Path, in_folder: Path):
    arguments = ["--arch", "lenet5", "--weights", "none", "--tune", "full", "--epochs", 1, "--val-split", 0.4]
    assert run_tl("finetune", "--data", photos, *arguments, "--quiet").exit_code == 0
    done = run_tl("evaluate")
    assert done.exit_code == 0, done.output
    assert re.match(r"accuracy +\d+\.\d % \(\d+ to \d+ %\) of 12 images\n", done.stdout)
    for label in ("balanced accuracy", "macro F1", "ROC AUC", "calibration error"):
        assert re.search(rf"\n{label} +\d+\.\d % +[\d.]+ to [\d.]+ %\n", done.stdout), label
    for label in ("Brier score", "loss"):
        assert re.search(rf"\n{label} +\d\.\d+ +\d[\d.]* to \d[\d.]*\n", done.stdout), label
    assert re.search(r"\nclass +images +precision +recall +F1\n0 +4 ", done.stdout)
    assert "\nclass  most often taken for  images\n" in done.stdout
    assert re.search(r"\nanswers from +answered +right +95 % interval\n +any +100.0 %", done.stdout)
    found = json.loads(run_tl("evaluate", "--format", "json").stdout)
    assert found == json.loads(run_tl("evaluate", "--json").stdout)
    low, high = found["intervals"]["accuracy"]
    assert 0 <= low < found["accuracy"] < high <= 1
    assert found["class_accuracy_intervals"].keys() == found["class_accuracy"].keys()


def test_evaluate_as_csv_has_a_row_for_each_class(tiny_run: Run):
    done = run_tl("evaluate", "--model", tiny_run.path, "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert [row["class"] for row in rows] == ["0", "1", "7"]
    assert list(rows[0]) == [
        "class", "images", "precision", "recall", "f1", "roc_auc", "average_precision", "recall_low", "recall_high",
    ]  # fmt: skip
    assert [row["images"] for row in rows] == ["6", "6", "6"]
    for row in rows:
        assert float(row["recall"]) == pytest.approx(tiny_run.summary["test_class_accuracy"][row["class"]], abs=1e-5)
        assert float(row["recall_low"]) <= float(row["recall"]) <= float(row["recall_high"])
    assert re.search(r"all images +accuracy .* of 18 images; --format json has all figures of the split\n", done.stderr)


def test_evaluate_with_two_formats_refuses():
    done = run_tl("evaluate", "--json", "--format", "csv")
    assert done.exit_code == 2
    assert "--json is short for --format json, and --format csv is another: leave out one." in done.stderr


def test_evaluate_of_a_single_class_says_what_it_cannot_compute(tiny_run: Run, tmp_path: Path):
    copy_digits(tmp_path / "data", ["7"], 2)
    done = run_tl("evaluate", "--model", tiny_run.path, "--data", tmp_path / "data")
    assert done.exit_code == 0, done.output
    assert "no images   2 of 3 classes: 0, 1\n" in done.stdout
    assert "mAP and ROC AUC need images of two classes or more, and all of these are 7.\n" in done.stdout
    assert "\nROC AUC" not in done.stdout


def test_evaluate_of_many_classes_lists_the_worst(capsys: pytest.CaptureFixture[str]):
    print_evaluation(evaluation(images=300, classes=40), 1.0)
    printed = capsys.readouterr().out
    table = printed[printed.index("worst of 40") :].splitlines()
    shares = [float(line.split("%")[-2]) for line in table[1:16]]
    assert shares == sorted(shares)
    assert table[16] == "All classes: --format csv"
    assert max(map(len, printed.splitlines())) <= 60


def test_evaluate_of_10_000_classes_is_summarised(capsys: pytest.CaptureFixture[str]):
    print_evaluation(evaluation(images=100, classes=10_000), 1.0)
    printed = capsys.readouterr().out
    assert len(printed.splitlines()) < 60
    assert re.search(r"no images +9,\d\d\d of 10,000 classes: ", printed)


def evaluation(images: int, classes: int) -> Evaluation:
    """Return the results of random logits."""
    generator = torch.Generator().manual_seed(0)
    targets, names = torch.randint(classes, (images,), generator=generator), tuple(f"c{n}" for n in range(classes))
    logits = torch.randn(images, classes, generator=generator)
    logits[torch.arange(images), targets] += 2
    criterion = Criterion()
    meter = ScoreMeter(classes, torch.device("cpu"), image_losses=criterion.of_each)
    meter.update(criterion(logits, targets), logits, targets)
    scores = meter.compute()
    predictions = Predictions(logits, targets, [str(number) for number in range(images)])
    return Evaluation(
        "data", "test", scores, scores.to_dict(names), [], of_run=False, left_out=0, seen=0, predictions=predictions,
        class_names=names,
    )  # fmt: skip


def test_evaluate_with_unknown_classes_lists_them(tiny_run: Run, tmp_path: Path):
    copy_digits(tmp_path / "data", ["3"], 2)
    done = run_tl("evaluate", "--model", tiny_run.path, "--data", tmp_path / "data")
    assert done.exit_code == 1
    assert "does not know 1 of the data's 1 classes: 3" in done.stderr
