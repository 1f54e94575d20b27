"""`tl evaluate` as a person types it."""

import json
import re
from pathlib import Path

from tests.helpers.folders import copy_digits
from tests.helpers.terminal import run_tl
from tl_toolkit.recipes.finetune import Run


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


def test_evaluate_with_unknown_classes_lists_them(tiny_run: Run, tmp_path: Path):
    copy_digits(tmp_path / "data", ["3"], 2)
    done = run_tl("evaluate", "--model", tiny_run.path, "--data", tmp_path / "data")
    assert done.exit_code == 1
    assert "does not know 1 of the data's 1 classes: 3" in done.stderr
