"""Data with several labels an image, as a person types it."""

import csv
import io
import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.labels import tiled_digits, write_table
from tests.helpers.runs import assert_same_run
from tests.helpers.terminal import run_tl
from tl_toolkit.runs.metrics_log import read_metrics

SETTINGS = ["--label-separator", ";", "--threads", 1, "--workers", 0]
LITE0 = ["--arch", "timm:tf_efficientnet_lite0", "--image-size", 64]


@pytest.fixture(scope="module")
def tiles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a table of train and test images, and a run on them."""
    folder = tmp_path_factory.mktemp("cli")
    write_table(folder, *tiled_digits(160), split="train")
    write_table(folder, *tiled_digits(40, seed=1, split="test"), split="test")
    more = ["--tune", "last-stage", "--epochs", 1, "--out", folder / "run"]
    done = run_tl("finetune", folder / "labels.csv", *SETTINGS, *LITE0, *more)
    assert done.exit_code == 0, done.output
    (folder / "printed.txt").write_text(done.output)
    return folder


def test_finetune_says_which_figure_it_chose_by(tiles: Path):
    printed = (tiles / "printed.txt").read_text()
    assert "data        labels.csv, 10 labels: 14" in printed
    assert "task        multi-label  any number of labels an image; models are chosen by mAP on val\n" in printed
    assert re.search(r"probe +12/12  loss \d\.\d{3}  val mAP +\d\d\.\d %\n", printed)
    assert re.search(r"thresholds  \d+% to \d+%  the best F1 of each label on val, few images count less\n", printed)
    figure = r"mAP \d\d\.\d % \(\d\d to \d\d %\)"
    assert re.search(rf"\nval +{figure} on 1\d images\ntest +{figure} on 40 images\nrun ", printed)
    assert re.search(r"stage +trains +best val mAP +at epoch\n", printed)
    assert re.search(r"worst of 10 labels +AP\n", printed)
    assert "accuracy" not in printed
    assert "train  " not in printed.split("probe  ")[1]


def test_evaluate_prints_mean_average_precision_then_each_label(tiles: Path):
    done = run_tl("evaluate", "-m", tiles / "run")
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert re.fullmatch(r"mAP +\d\d\.\d % \(\d\d to \d\d %\) on 40 images", lines[0])
    assert [line.split("  ")[0] for line in lines[1:9]] == [
        "images", "seen", "", "figure", "micro F1", "macro F1", "all right", "loss",
    ]  # fmt: skip
    assert all(re.search(r"[\d.]+( %)? +[\d.]+ to [\d.]+( %)?$", line) for line in lines[5:9])
    assert lines[10].split() == ["label", "images", "AP", "precision", "recall", "F1", "threshold"]
    assert len(lines) == 21
    found = json.loads(run_tl("evaluate", "-m", tiles / "run", "--json").stdout)
    summary = json.loads((tiles / "run" / "summary.json").read_text())
    assert found["mean_average_precision"] == pytest.approx(summary["test_mean_average_precision"], abs=0.01)
    assert len(found["average_precision"]) == len(found["threshold"]) == 10


def test_evaluate_of_val_says_that_thresholds_were_chosen_there(tiles: Path):
    done = run_tl("evaluate", "-m", tiles / "run", "--split", "val")
    assert "thresholds  chosen on val  its F1 is a little high, its mAP needs no thresholds\n" in done.stderr


def test_evaluate_of_other_data_reads_it_as_the_model_needs(tiles: Path, tmp_path: Path):
    table = tmp_path / "one_each.csv"
    names = [line.split(",") for line in (tiles / "labels.csv").read_text().splitlines()[1:]]
    single = [f"{tiles / name},{labels}" for name, labels, _ in names if ";" not in labels]
    table.write_text("\n".join(["path,label", *single]) + "\n")
    done = run_tl("evaluate", "-m", tiles / "run", "--data", table)
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("mAP")


def test_predict_names_every_label_from_its_threshold_on(tiles: Path):
    images = [tiles / f"{number:04}.png" for number in (161, 162, 163)]
    done = run_tl("predict", "-m", tiles / "run", *images, "--format", "jsonl")
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [list(each) for each in found] == [["path", "labels", "top_k"]] * 3
    cells = list(csv.reader(io.StringIO(run_tl("predict", "-m", tiles / "run", *images, "--format", "csv").stdout)))
    assert cells[0] == ["path", "labels", "probabilities", "error"]
    labels = [[label["class_name"] for label in each["labels"]] for each in found]
    assert [json.loads(row[1]) for row in cells[1:]] == labels


def test_predict_with_a_high_threshold_says_none(tiles: Path):
    done = run_tl("predict", "-m", tiles / "run", tiles / "0161.png", "--threshold", 1, "--top-k", 2)
    assert done.stdout.splitlines()[0].split() == ["image", "labels", "next", "likeliest"]
    row = re.fullmatch(r"\S+0161\.png  none    (\w+ \d+\.\d %), \w+ \d+\.\d % *", done.stdout.splitlines()[1])
    assert row, done.stdout


def test_predict_of_one_class_an_image_with_a_threshold_says_what_it_is_for(tiny_run: object, photos: Path):
    done = run_tl("predict", "-m", tiny_run.path, photos, "--threshold", 0.5)  # type: ignore[attr-defined]
    assert done.exit_code == 2
    assert "Error: --threshold is for models that give an image several labels" in done.stderr


def test_predict_of_several_labels_refuses_to_abstain_and_marks_nothing(tiles: Path):
    done = run_tl("predict", "-m", tiles / "run", tiles / "0161.png", "--abstain-below", 0.5)
    assert (done.exit_code, done.stdout) == (2, "")
    assert " ".join(done.stderr.split()) == (
        "Error: --abstain-below is for models that name one class of an image; this one gives it the labels whose "
        "probability is high enough: see --threshold."
    )
    assert (
        "unknown     not flagged  an image without labels is not an unknown one\n"
        in (tiles / "printed.txt").read_text()
    )
    [result] = json.loads(run_tl("predict", "-m", tiles / "run", tiles / "0161.png", "-f", "json").stdout)
    assert list(result) == ["path", "labels", "top_k"]


def test_predict_draws_labels_beside_the_true_ones(tiles: Path, tmp_path: Path):
    done = run_tl("predict", "-m", tiles / "run", "--grid", tmp_path / "grid.png")
    assert done.exit_code == 0, done.output
    assert re.search(r"grid\.png  test, labels\.csv, 25 images, \d+ of 25 right", done.stderr)


@pytest.mark.parametrize("form", ["state-dict", "full-model", "safetensors"])
def test_export_of_a_model_of_several_labels_keeps_them(form: str, tiles: Path, tmp_path: Path):
    out = tmp_path / "exported.bin"
    assert run_tl("export", tiles / "run", "--to", form, "--out", out).exit_code == 0
    if form != "state-dict":  # It has no class names either.
        image = tiles / "0161.png"
        expected = run_tl("predict", "-m", tiles / "run", image, "--format", "jsonl").stdout
        assert run_tl("predict", "-m", out, image, "--format", "jsonl").stdout == expected


def test_plot_of_the_run_says_the_metric(tiles: Path, tmp_path: Path):
    assert run_tl("plot", tiles / "run", "--out", tmp_path / "plot.svg").exit_code == 0
    assert {record.score_name for record in read_metrics(str(tiles / "run"))} == {"mAP"}


def test_rank_compares_by_mean_average_precision_and_says_how_to_train(tiles: Path):
    more = ["--arch", "timm:test_resnet", "--weights", "none", "--image-size", 32]
    done = run_tl("rank", tiles / "labels.csv", "--label-separator", ";", *more)
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines()[1].split() == ["network", "input", "mAP", "features", "training", "file"]
    assert f"tl finetune {tiles / 'labels.csv'} --label-separator ';' --arch timm:test_resnet" in done.stdout
    [ranked] = json.loads(run_tl("rank", tiles / "labels.csv", "--label-separator", ";", *more, "--json").stdout)
    assert 0 < ranked["mean_average_precision"] < 1
    assert ranked["accuracy"] < ranked["mean_average_precision"]


def test_data_info_counts_images_and_labels(tiles: Path):
    done = run_tl("data", "info", tiles / "labels.csv", "--label-separator", ";")
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert lines[0] == "labels.csv, 10 labels, any number of them an image"
    assert lines[1].split() == ["label", "train", "test"]
    assert lines[12].split() == ["all", "160", "40"]
    assert sum(int(line.split()[1]) for line in lines[2:12]) > 160


def test_data_check_compares_labels_of_identical_images(tiles: Path, tmp_path: Path):
    image = (tiles / "0001.png").read_bytes()
    for name in ("a.png", "b.png", "c.png"):
        (tmp_path / name).write_bytes(image)
    (tmp_path / "labels.csv").write_text("path,label\na.png,cat;dog\nb.png,dog;cat\nc.png,cat\n")
    done = run_tl("data", "check", tmp_path / "labels.csv", "--label-separator", ";")
    assert done.exit_code == 1
    assert "1 image is there with different labels: one at most is right." in done.stderr
    assert "(cat + dog, cat)" in done.stderr.replace("\n", " ")
    assert "2 labels, any number of them an image: 3 train images that can be read" in done.stdout


KILLED = """
import os, signal, sys
import tl_toolkit as tl
from tl_toolkit.events import EvalRecord

left = int(sys.argv[3])

def callback(event):
    global left
    left -= isinstance(event, EvalRecord)
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)

tl.finetune(data=sys.argv[1], out=sys.argv[2], callback=callback, label_separator=";", arch="timm:test_resnet",
            weights="none", image_size=32, tune="full", epochs=3, threads=1, workers=0, eval_every=2)
"""


def test_run_killed_and_resumed_has_the_same_bits(tiles: Path, tmp_path: Path):
    command = [sys.executable, "-c", KILLED, str(tiles / "labels.csv")]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    small = ["--arch", "timm:test_resnet", "--weights", "none", "--image-size", 32, "--tune", "full", "--epochs", 3]
    done = run_tl("finetune", tiles / "labels.csv", *SETTINGS, *small, "--eval-every", 2, "--out", whole)
    assert done.exit_code == 0, done.output
    assert subprocess.run([*command, str(killed), "5"], check=False).returncode == -signal.SIGKILL
    done = run_tl("finetune", "--resume", killed)
    assert done.exit_code == 0, done.output
    assert_same_run(whole, killed)
