"""The results of a finished run in the terminal."""

import re
from pathlib import Path
from typing import Any

import pytest

from tl_toolkit.cli.results import print_results

SUMMARY: dict[str, Any] = {
    "val_accuracy": 0.9477,
    "val_images": 153,
    "val_intervals": {"accuracy": [0.9002, 0.9733], "loss": [0.1, 0.3]},
    "test_intervals": None,
    "test_accuracy": None,
    "test_images": 0,
    "best_stage": "probe",
    "best_epoch": 12,
    "refit_on_val": False,
    "stages": {
        "probe": {"val_accuracy": 0.9477, "epoch": 12},
        "last-stage": {"val_accuracy": 0.9412, "epoch": 1},
    },
    "seconds": 22.4,
    "class_accuracy": {"ants": 0.929, "bees": 0.964},
    "bad_images": [],
}


@pytest.fixture
def run(in_folder: Path) -> Path:
    """The newest run of the working directory."""
    folder = Path("runs") / "one"
    folder.mkdir(parents=True)
    (folder / "model.safetensors").touch()
    return folder


def shown(folder: Path, capsys: pytest.CaptureFixture[str], verbose: bool = False, **changes: Any) -> str:
    print_results(folder, SUMMARY | changes, [(folder / "model.safetensors", "the weights")], 36.2, verbose)
    return "".join(f"{line.rstrip()}\n" for line in capsys.readouterr().out.splitlines())


TEST = {"accuracy": [0.9905, 0.9974]}


def test_print_results_ends_with_the_result_and_commands(run: Path, capsys: pytest.CaptureFixture[str]):
    assert shown(run, capsys) == """
kept        probe, epoch 12
time        22 s, 36 s in all

stage       trains          best val  at epoch
probe       the head          94.8 %        12
last-stage  the last stage    94.1 %         1
last-stage did not pay: val 94.1 % at best, 94.8 % with probe, which is kept.

class  accuracy
ants     92.9 %
bees     96.4 %

val         94.8 % (90 to 97 %) of 153 images
run         runs/one
next        tl predict IMAGE
            tl predict --grid grid.png
            tl export runs/one --to state-dict --out model.pt
"""[1:]  # fmt: skip


def test_print_results_with_a_test_split_judges_by_it(run: Path, capsys: pytest.CaptureFixture[str]):
    text = shown(run, capsys, test_accuracy=0.995, test_images=1797, refit_on_val=True, test_intervals=TEST)
    assert text.startswith("kept        probe, epoch 12, then solved once more on train and val\n")
    assert (
        "\nval         94.8 % (90 to 97 %) of 153 images\n"
        "test        99.5 % (99.1 to 99.7 %) of 1,797 images\n"
        "run         runs/one\n"
    ) in text


def test_print_results_of_stages_that_all_paid_says_nothing_of_it(run: Path, capsys: pytest.CaptureFixture[str]):
    text = shown(run, capsys, best_stage="last-stage", best_epoch=3)
    assert "did not pay" not in text
    assert "kept        last-stage, epoch 3, the last within a standard error of its best\n" in text


def test_print_results_of_a_stage_that_is_better_by_chance_says_so(run: Path, capsys: pytest.CaptureFixture[str]):
    stages = {"probe": {"val_accuracy": 0.9477, "epoch": 12}, "last-stage": {"val_accuracy": 0.9542, "epoch": 2}}
    verdict = "last-stage brought too little to be sure of: val 95.4 % at best, 94.8 % with probe, which is kept.\n"
    assert verdict in shown(run, capsys, stages=stages).replace("\nwhich", " which")


def test_print_results_of_a_single_stage_has_no_table_of_stages(run: Path, capsys: pytest.CaptureFixture[str]):
    assert "at epoch" not in shown(run, capsys, stages={"probe": {"val_accuracy": 0.9, "epoch": 12}})


def test_print_results_of_runs_of_earlier_versions_shows_what_they_recorded(
    run: Path, capsys: pytest.CaptureFixture[str]
):
    text = shown(run, capsys, stages={"probe": 0.9477, "last-stage": 0.9412})
    assert re.search(r"last-stage  the last stage +94\.1 %\n", text)
    older = {
        name: value
        for name, value in SUMMARY.items()
        if not re.match("best_|stages|refit|val_intervals|test_intervals", name)
    }
    print_results(run, older, [])
    printed = capsys.readouterr().out
    assert printed.startswith("time        22 s\n\nclass")
    assert "\nval         94.8 % of 153 images\nrun " in printed


def test_print_results_of_a_run_elsewhere_names_it_in_every_command(run: Path, capsys: pytest.CaptureFixture[str]):
    elsewhere = Path("my photos' run")
    elsewhere.mkdir()
    assert shown(elsewhere, capsys).endswith(
        """
run         my photos' run
next        tl predict -m 'my photos'"'"' run' IMAGE
            tl predict -m 'my photos'"'"' run' --grid grid.png
            tl export 'my photos'"'"' run' --to state-dict --out model.pt
"""
    )


def test_print_results_shows_what_was_left_out_and_when_verbose_every_class_and_file(
    run: Path, capsys: pytest.CaptureFixture[str]
):
    classes = {f"c{number}": 0.5 for number in range(9)}
    few = shown(run, capsys, bad_images=[{}, {}], class_accuracy=classes)
    assert "left out    2 images: runs/one/bad_images.csv\n" in few
    assert few.count("50.0 %") == 5
    assert "model.safetensors" not in few
    every = shown(run, capsys, verbose=True, class_accuracy=classes)
    assert every.count("50.0 %") == 9
    assert "model.safetensors  the weights\n" in every


def test_print_results_of_several_labels_shows_mean_average_precision(run: Path, capsys: pytest.CaptureFixture[str]):
    stages = {"probe": {"val_mean_average_precision": 0.453, "epoch": 12}}
    interval = {"mean_average_precision": [0.4312, 0.4781]}
    task = {"task": "multi-label", "val_average_precision": {"cat": 0.4, "dog": 0.5}, "stages": stages}
    text = shown(
        run,
        capsys,
        val_mean_average_precision=0.453,
        test_mean_average_precision=None,
        val_intervals=interval,
        **task,
    )
    assert "\nval         mAP 45.3 % (43 to 48 %) on 153 images\n" in text


def test_print_results_shows_the_report_that_there_is(run: Path, capsys: pytest.CaptureFixture[str]):
    assert "report" not in shown(run, capsys)
    (run / "report.html").touch()
    assert "153 images\nrun         runs/one\nreport      runs/one/report.html\nnext " in shown(run, capsys)
