"""``tl compare``."""

import csv
import dataclasses
import io
import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from tests.helpers.runs import write_run
from tests.helpers.terminal import run_tl
from tl_toolkit.cli.main import app
from tl_toolkit.metrics.predictions import Predictions

IMAGES = 150


def predictions(share: float, seed: int) -> Predictions:
    """Predictions of a made-up model that has about a share of the images right."""
    targets = torch.arange(IMAGES) % 2
    wrong = torch.rand(IMAGES, generator=torch.Generator().manual_seed(seed)) >= share
    logits = 3 * torch.nn.functional.one_hot((targets + wrong) % 2, 2).float()
    return Predictions(logits, targets, ["image"] * IMAGES, [number.to_bytes(5, "big") for number in range(IMAGES)])


@pytest.fixture
def runs(in_folder: Path) -> Path:
    """Runs under runs/: one that is good, one that is bad, and one as good as the first."""
    folder = in_folder / "runs"
    for name, share, settings in (
        ("good", 0.95, {}),
        ("bad", 0.6, {"epochs": 3, "learning_rate": 0.1}),
        ("also-good", 0.95, {"seed": 1}),
    ):
        found = predictions(share, seed=len(name))
        write_run(folder / name, {"val": found, "test": found}, settings=settings)
    return folder


def shown(*arguments: str, columns: int = 200) -> list[str]:
    """The lines that a command prints on a terminal of some columns."""
    done = CliRunner(env={"COLUMNS": str(columns), "NO_COLOR": "1"}).invoke(app, list(arguments))
    assert done.exit_code == 0, done.output
    return [line.rstrip() for line in done.stdout.splitlines()]


def test_compare_shows_settings_figures_differences_and_a_verdict(runs: Path):
    lines = shown("compare", "good", "runs/bad", columns=400)
    assert lines[:9] == [
        "A           runs/good",
        "B           runs/bad",
        "",
        "setting        A        B",
        "epochs         not set  3",
        "learning_rate  not set  0.1",
        "",
        "On the same 150 test images, with 95 % intervals",
        f"figure{'A'.rjust(35)}{'B'.rjust(24)}",
    ]
    assert lines[9].split()[:4] == ["top-1", "96.0", "%", "(92"]
    assert [line.split("  ")[0] for line in lines[9:13]] == ["top-1", "balanced accuracy", "macro F1", "loss"]
    assert lines[14].split() == ["B", "less", "A", "95", "%", "interval", "p"]
    assert lines[15].split()[:2] == ["top-1", "-30.0"]
    assert lines[15].endswith("  < 0.001")
    assert lines[19].startswith("right only in B: ")
    assert lines[20] == ""
    assert lines[21].startswith("verdict     bad is worse than good: its top-1 is 30.0 points lower")
    assert len(lines) == 22


def test_compare_on_a_narrow_terminal_fits(runs: Path):
    lines = shown("compare", "good", "bad", columns=60)
    assert max(map(len, lines)) <= 60
    [figures] = [line.split() for line in lines if line.startswith("top-1") and "to" in line and "%" in line]
    assert " ".join(figures).startswith("top-1 96.0 % (92 to 98 %) ")


def test_compare_of_three_runs_says_with_which_each_is_compared(runs: Path):
    lines = shown("compare", "good", "bad", "also-good", columns=400)
    assert "Each run is compared with A, the first one." in lines
    assert [line.split(":")[0] for line in lines[-2:]] == [
        "verdict     bad is worse than good",
        "verdict     also-good is not distinguishable from good",
    ]
    assert [line.split()[:3] for line in lines if " less A " in line] == [["B", "less", "A"], ["C", "less", "A"]]


def test_compare_of_runs_with_the_same_settings_says_so(runs: Path):
    write_run(runs / "again", dict.fromkeys(("val", "test"), predictions(0.95, seed=4)))
    assert "All settings are the same." in shown("compare", "good", "again")


def test_compare_without_a_shared_image_says_that_no_test_is_possible(runs: Path):
    found = predictions(0.9, seed=1)
    other = dataclasses.replace(found, contents=[b"other" + each for each in found.contents if each])
    write_run(runs / "other", {"test": other}, test_accuracy=0.9)
    lines = shown("compare", "good", "other", columns=400)
    assert "As each run was judged by itself" in lines
    assert lines[-2].startswith("verdict     other cannot be compared: none of its 150 test images is among those of")
    assert lines[-2].endswith("Judge the models on images that none has learned from: --data DATA")
    assert lines[-1] == "No test is possible: the figures above may be of different images."


def test_compare_as_json_has_everything(runs: Path):
    found = json.loads("\n".join(shown("compare", "good", "bad", "--format", "json")))
    assert (found["images"], found["judged_on"], found["reference"]) == (150, "test images", "A")
    assert found["differing"][0] == {"name": "epochs", "A": "not set", "B": "3"}
    first, second = found["runs"]
    assert (first["verdict"], first["sentence"], first["differences"]) == (None, "", {})
    assert (second["verdict"], second["figure"], second["letter"]) == ("worse", "accuracy", "B")
    assert second["sentence"].startswith("bad is worse than good")
    difference = second["differences"]["accuracy"]
    assert difference["interval"][0] < difference["value"] < difference["interval"][1] < 0
    assert second["right_only_here"] - second["right_only_in_reference"] == round(150 * difference["value"])
    assert first["figures"]["accuracy"]["value"] + difference["value"] == pytest.approx(
        second["figures"]["accuracy"]["value"]
    )


def test_compare_as_csv_has_a_line_for_each_figure(runs: Path):
    rows = list(csv.DictReader(io.StringIO("\n".join(shown("compare", "good", "bad", "--format", "csv")))))
    assert [(row["run"], row["figure"]) for row in rows[:5]] == [
        *(("runs/good", name) for name in ("accuracy", "balanced_accuracy", "macro_f1", "loss")),
        ("runs/bad", "accuracy"),
    ]
    assert (rows[0]["difference"], rows[4]["verdict"], rows[5]["verdict"]) == ("", "worse", "")
    assert float(rows[4]["low"]) < float(rows[4]["value"]) < float(rows[4]["high"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["good"], "Name two runs or more: tl compare RUN RUN. `tl runs` lists them."),
        (["good", "runs/good"], "runs/good is named twice; a run cannot be compared with itself."),
        (["good", "god"], "god is not a run folder: it has no config.yaml. Did you mean runs/good or runs/also-good?"),
        (["good", "bad", "--data", "nowhere"], None),
    ],
)
def test_compare_of_wrong_names_says_what_is_meant(arguments: list[str], message: str | None, runs: Path):
    done = run_tl("compare", *arguments)
    assert done.exit_code == 2
    assert done.stderr == f"Error: {message}\n" if message else done.stderr.startswith("Error: There is no folder 'now")
