"""``tl runs``, ``tl runs show`` and ``tl runs rm``."""

import json
import re
import sys
from pathlib import Path

import filelock
import pytest
from typer.testing import CliRunner

from tests.helpers.runs import write_run
from tests.helpers.terminal import run_tl
from tl_toolkit.cli.main import app
from tl_toolkit.cli.run_names import complete_runs
from tl_toolkit.recipes.finetune import Run


@pytest.fixture
def runs(in_folder: Path) -> Path:
    """Three runs under runs/, of which one was stopped, and a folder that is none."""
    folder = in_folder / "runs"
    write_run(folder / "a small one", data="/home/photos", val_accuracy=0.7)
    intervals = {"test_intervals": {"accuracy": [0.91, 0.98]}, "val_intervals": {"accuracy": [0.85, 0.94]}}
    name = "2026-11-22-tf_efficientnet_lite0-photos"
    write_run(folder / name, data="/home/photos", test_accuracy=0.954, test_images=153, **intervals)
    stopped = write_run(folder / "stopped", data="digits", settings={"arch": "resnet18", "data": "digits"})
    (stopped / "summary.json").unlink()
    (folder / "notes").mkdir()
    return folder


def shown(*arguments: str, columns: int = 200) -> str:
    """What a command prints on a terminal of some columns, without spaces at the ends of lines."""
    done = CliRunner(env={"COLUMNS": str(columns), "NO_COLOR": "1"}).invoke(app, list(arguments))
    assert done.exit_code == 0, done.output
    return "".join(f"{line.rstrip()}\n" for line in done.stdout.splitlines())


def test_runs_lists_each_with_its_figures_and_their_intervals(runs: Path):
    lines = shown("runs", "--sort", "test").splitlines()
    assert lines[0].startswith("runs: 4 folders, ")
    assert lines[1].split() == [
        "run",
        "date",
        "arch",
        "data",
        "tune",
        "classes",
        "val",
        "test",
        "time",
        "size",
        "state",
    ]
    assert lines[2].startswith("2026-11-22-tf_efficientnet_lite0-photos  20")
    assert "  timm:small  photos  auto  2        90.0 % (85 to 94 %)  95.4 % (91 to 98 %)  8 s   " in lines[2]
    assert lines[2].endswith("finished")
    assert lines[3].startswith("a small one")
    assert "  70.0 %  " in lines[3]
    assert lines[4].endswith("no run: empty")
    assert lines[5].endswith("stopped: probe, epoch 3 of 3")


def test_runs_on_a_narrow_terminal_leaves_out_what_the_name_says(runs: Path):
    lines = shown("runs", "--state", "finished", "--sort", "test", columns=60).splitlines()
    assert lines[1].split() == ["run", "test", "state"]
    assert "".join(line.split("  ")[0] for line in lines[2:4]) == "2026-11-22-tf_efficientnet_lite0-photos"
    assert lines[2].endswith("  95.4 % (91 to 98 %)  finished")
    assert lines[4].split("  ")[0] == "a small one"
    assert max(map(len, lines)) <= 60


def test_runs_filters_and_sorts(runs: Path):
    def names(*arguments: str) -> list[str]:
        return [run["run"].removeprefix("runs/") for run in json.loads(shown("runs", *arguments, "--json"))]

    assert names("--data", "PHOTOS", "--sort", "name") == ["2026-11-22-tf_efficientnet_lite0-photos", "a small one"]
    assert names("--arch", "resnet") == ["stopped"]
    assert names("--state", "stopped") == ["stopped"]
    assert names("--sort", "val")[:2] == ["2026-11-22-tf_efficientnet_lite0-photos", "a small one"]
    assert shown("runs", "--data", "nothing") == "runs        runs: none of 4 folders is such a run\n"


def test_runs_as_json_has_every_figure(runs: Path):
    [run] = json.loads(shown("runs", "list", "runs", "--arch", "small", "--sort", "test", "--json"))[:1]
    assert run.pop("date").startswith("20")
    assert run.pop("bytes") > 1000
    assert run == {
        "run": "runs/2026-11-22-tf_efficientnet_lite0-photos",
        "state": "finished",
        "detail": "",
        "arch": "timm:small",
        "data": "/home/photos",
        "tune": "auto",
        "classes": 2,
        "figure": "accuracy",
        "val": 0.9,
        "val_interval": [0.85, 0.94],
        "test": 0.954,
        "test_interval": [0.91, 0.98],
        "seconds": 8.0,
    }


def test_runs_without_any_says_how_to_train_one(in_folder: Path):
    assert shown("runs") == "runs        runs: none yet\nnext        tl finetune --data FOLDER\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["shwo"], "There is no folder 'shwo'. Did you mean tl runs show? `tl runs` lists the runs of this folder."),
        (["runs/a small one"], "runs/a small one is a run, not a folder of runs: tl runs show 'runs/a small one'"),
        (
            ["show", "a smal one"],
            "a smal one is not a run folder: it has no config.yaml. Did you mean runs/a small one?",
        ),
        (
            ["rm", "notes", "--yes"],
            "notes is not a run folder: it has no config.yaml. Give a folder that `tl finetune` wrote.",
        ),
    ],
)
def test_runs_of_a_wrong_name_says_what_is_meant(arguments: list[str], message: str, runs: Path):
    done = run_tl("runs", *arguments)
    assert (done.exit_code, done.stderr) == (2, f"Error: {message}\n")


def test_show_of_a_finished_run_has_all_of_it(tiny_run: Run, in_folder: Path):
    text = shown("runs", "show", str(tiny_run.path))
    assert "state       finished\n" in text
    assert "network     torchvision:resnet18 from bundled" in text
    assert "images      54 train, 6 val, 18 test; 3 classes\n" in text
    assert "\nSettings that are not the defaults\n" in text
    assert "\nimage_size    32\n" in text
    assert "\ndata_root" not in text
    assert re.search(r"\nmodel\.safetensors +4\d\.\d MiB\n", text)
    assert text.index("\nfile ") < text.index("\nkept ") < text.index("\nnext        tl predict -m ")


def test_show_of_a_stopped_run_says_how_it_goes_on(runs: Path):
    assert shown("runs", "show", "stopped") .splitlines()[:8] == [
        "run         runs/stopped",
        "state       stopped: probe, epoch 3 of 3",
        "arch        resnet18",
        "data        digits",
        "tune        auto",
        "",
        "Settings that are not the defaults",
        "setting  value",
    ]  # fmt: skip
    assert shown("runs", "show", "stopped").endswith(
        "stage  trains    best val  at epoch\n"
        "probe  the head    50.0 %         3\n"
        "trained     1 s\n\n"
        "next        tl finetune --resume runs/stopped\n"
    )


def test_show_of_a_damaged_run_shows_the_rest(runs: Path):
    (runs / "stopped" / "summary.json").write_text("{")
    (runs / "stopped" / "metrics.jsonl").write_text("{}\n")
    done = run_tl("runs", "show", "stopped")
    assert done.exit_code == 0
    assert "Warning: runs/stopped/summary.json is damaged: Expecting property name" in done.stderr
    assert "Warning: runs/stopped/metrics.jsonl is damaged: line 1: " in done.stderr
    assert "state       damaged\n" in done.stdout


def test_show_as_json_has_settings_summary_and_evaluations(runs: Path):
    found = json.loads(shown("runs", "show", "stopped", "--json"))
    assert found["changed_settings"] == {"arch": "resnet18"}
    assert (found["state"], found["summary"]) == ("stopped", None)
    assert [record["epoch"] for record in found["evaluations"]] == [3]
    assert {file["file"] for file in found["files"]} == {"config.yaml", "metrics.jsonl"}
    finished = json.loads(shown("runs", "show", "a small one", "--json"))
    assert finished["summary"]["val_accuracy"] == 0.7


def test_rm_without_a_terminal_needs_yes(runs: Path):
    done = run_tl("runs", "rm", "a small one")
    assert done.exit_code == 2
    assert done.stderr.startswith("Error: Nothing was removed: 1 run, ")
    assert done.stderr.endswith("Nobody can be asked without a terminal; say --yes.\n")
    assert (runs / "a small one" / "config.yaml").exists()


@pytest.mark.parametrize("answer", ["y", "n"])
def test_rm_asks_and_shows_what_it_frees(answer: str, runs: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("tl_toolkit.cli.runs.can_ask", lambda: True)
    done = CliRunner(env={"COLUMNS": "80", "NO_COLOR": "1"}).invoke(
        app, ["runs", "rm", "a small one", "runs/stopped", "a small one"], input=f"{answer}\n"
    )
    assert "runs/a small one  3 files" in done.stdout
    assert "runs/stopped      2 files" in done.stdout
    assert "Remove 2 runs, " in done.stdout
    assert (done.exit_code, (runs / "stopped").exists()) == ((0, False) if answer == "y" else (1, True))


def test_rm_of_several_removes_none_if_one_is_refused(runs: Path):
    with filelock.FileLock(runs / "stopped" / ".lock"):
        done = run_tl("runs", "rm", "a small one", "stopped", "--yes")
    assert done.exit_code == 2
    assert "A process trains in runs/stopped now. Stop it first, or wait until it is done." in done.stderr
    assert (runs / "a small one").exists()


def test_rm_says_which_files_of_others_stay(runs: Path):
    (runs / "stopped" / "thesis.pdf").touch()
    done = run_tl("runs", "rm", "stopped", "--yes")
    assert done.stdout.startswith("Removed 1 run, ")
    assert "runs/stopped has other files, which stay with the folder: thesis.pdf." in done.stderr
    assert [path.name for path in (runs / "stopped").iterdir()] == ["thesis.pdf"]


def test_complete_runs_names_what_begins_so(runs: Path):
    assert complete_runs("s") == ["stopped"]
    assert len(complete_runs("")) == 4


def test_complete_runs_without_a_folder_is_empty(in_folder: Path):
    assert complete_runs("") == []


@pytest.mark.skipif(sys.platform != "linux", reason="file names of other systems are text")
def test_runs_of_odd_names_prints_them_escaped(in_folder: Path):
    write_run(in_folder / "runs" / "b\udcff\x1b[31m")
    assert "b\\xff\\x1b[31m" in shown("runs")
    assert json.loads(shown("runs", "--json"))[0]["run"] == "runs/b\udcff\x1b[31m"
