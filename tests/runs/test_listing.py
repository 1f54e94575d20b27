"""Runs at a glance, whatever lies in their folder."""

import json
import os
import subprocess
import sys
from pathlib import Path

import filelock
import pytest

from tests.helpers.events import eval_record
from tests.helpers.runs import write_run
from tl_toolkit.errors import ToolkitError
from tl_toolkit.runs.listing import filtered, list_runs, look_at, ordered


def stopped(folder: Path, lines: str) -> Path:
    """A run that has no results yet."""
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text("arch: resnet18\ndata: /data/photos\n")
    (folder / "metrics.jsonl").write_text(lines)
    return folder


def test_look_at_a_finished_run_has_what_it_measured(tmp_path: Path):
    intervals = {"accuracy": [0.85, 0.94]}
    run = look_at(write_run(tmp_path / "run", val_intervals=intervals, test_accuracy=0.8, test_images=10))
    assert (run.state, run.detail, run.seconds) == ("finished", "", 8.0)
    assert (run.score("val"), run.interval("val")) == (0.9, (0.85, 0.94))
    assert (run.score("test"), run.interval("test")) == (0.8, None)
    assert (run.text("arch"), run.text("classes"), run.text("nothing")) == ("timm:small", "2", "")
    assert run.size == sum(path.stat().st_size for path in (tmp_path / "run").iterdir())


def test_look_at_a_run_of_several_labels_has_its_mean_average_precision(tmp_path: Path):
    values = {"task": "multi-label", "val_mean_average_precision": 0.7, "stages": {
        "probe": {"val_mean_average_precision": 0.7, "epoch": 3}}}  # fmt: skip
    run = look_at(write_run(tmp_path / "run", val_intervals={"mean_average_precision": [0.6, 0.8]}, **values))
    assert (run.score_name, run.score("val"), run.interval("val")) == ("mean_average_precision", 0.7, (0.6, 0.8))


@pytest.mark.parametrize("intervals", [3, {"accuracy": 3}, {"accuracy": [1]}, {"accuracy": ["a", "b"]}])
def test_look_at_a_run_with_odd_intervals_leaves_them_out(intervals: object, tmp_path: Path):
    assert look_at(write_run(tmp_path / "run", val_intervals=intervals)).interval("val") is None


RECORD = json.dumps(eval_record("tune", 3, 10).to_dict())


@pytest.mark.parametrize(
    ("lines", "detail"),
    [
        ("", "before its first epoch"),
        (f"{RECORD}\n", "tune, epoch 3 of 10"),
        (f'{RECORD}\n{{"stage": "tune", "epo', "tune, epoch 3 of 10"),
        (f'{RECORD}\n{{"stage": "tune", "epoch": 4, "step": 31}}\n', "tune, epoch 4"),
    ],
)
def test_look_at_a_run_that_was_stopped_says_how_far_it_came(lines: str, detail: str, tmp_path: Path):
    run = look_at(stopped(tmp_path / "run", lines))
    assert (run.state, run.detail) == ("stopped", detail)
    assert (run.text("arch"), run.seconds, run.score("val")) == ("resnet18", None, None)


def test_look_at_a_run_that_trains_now_says_so(tmp_path: Path):
    folder = stopped(tmp_path / "run", f"{RECORD}\n")
    with filelock.FileLock(folder / ".lock"):
        assert look_at(folder).state == "training"
    assert (folder / ".lock").is_file()
    assert look_at(folder).state == "stopped"


def test_look_at_a_folder_that_is_damaged_or_no_run_says_what_is_wrong(tmp_path: Path):
    half = stopped(tmp_path / "half", "")
    (half / "summary.json").write_text('{"run": ')
    other = write_run(tmp_path / "other", val_accuracy="high")
    broken = stopped(tmp_path / "broken", "")
    (broken / "config.yaml").write_text("data: [")
    odd = stopped(tmp_path / "odd", "{}\n")
    (tmp_path / "empty").mkdir()
    (tmp_path / "nested" / "run").mkdir(parents=True)
    (tmp_path / "nested" / "run" / "config.yaml").touch()
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.safetensors").touch()
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").touch()
    (tmp_path / "file.txt").touch()
    (tmp_path / ".hidden").mkdir()
    found = {run.path.name: (run.state, run.detail) for run in list_runs(tmp_path)}
    for folder, beginning in (
        (half, f"{half}/summary.json is damaged: Expecting value"),
        (other, f"{other}/summary.json is damaged: Expected `float`, got `str`"),
        (broken, f"{broken}/config.yaml is not valid YAML: "),
        (odd, f"{odd}/metrics.jsonl is damaged: its last line is no record of an epoch."),
    ):
        state, detail = found.pop(folder.name)
        assert state == "damaged"
        assert detail.startswith(beginning)
    assert found == {
        "empty": ("no run", "empty"),
        "model": ("no run", "only a model, without config.yaml"),
        "nested": ("no run", "a folder of runs"),
        "notes": ("no run", "it has no config.yaml"),
    }


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_look_at_a_folder_without_permission_says_so(tmp_path: Path):
    folder = write_run(tmp_path / "run")
    folder.chmod(0)
    try:
        assert look_at(folder).detail == "it cannot be read: Permission denied"
    finally:
        folder.chmod(0o700)


def test_list_runs_of_no_folder_says_why(tmp_path: Path):
    with pytest.raises(ToolkitError, match=r"Cannot list .*nowhere: No such file or directory\."):
        list_runs(tmp_path / "nowhere")


def test_list_runs_takes_any_names_and_follows_no_link_for_sizes(tmp_path: Path):
    runs = tmp_path / "runs"
    for name in ("größer als", "a b", os.fsdecode(b"b\xff")):
        write_run(runs / name)
    big = tmp_path / "big"
    big.write_bytes(bytes(10**6))
    (runs / "a b" / "link").symlink_to(big)
    (runs / "a b" / "tensorboard").symlink_to(tmp_path)
    assert [run.path.name for run in list_runs(runs)] == ["a b", os.fsdecode(b"b\xff"), "größer als"]
    assert all(run.size < 10**5 for run in list_runs(runs))


def test_filtered_and_ordered_runs(tmp_path: Path):
    write_run(tmp_path / "a", data="/home/Photos", val_accuracy=0.7, seconds=5.0)
    write_run(tmp_path / "b", data="digits", val_accuracy=0.9, test_accuracy=0.5, seconds=9.0)
    stopped(tmp_path / "c", "")
    (tmp_path / "c" / "large").write_bytes(bytes(10**5))
    for age, name in enumerate("cab"):
        for path in (tmp_path / name).iterdir():
            os.utime(path, (1e9 - age, 1e9 - age))
    runs = list_runs(tmp_path)
    orders = {
        by: "".join(run.path.name for run in ordered(runs, by))
        for by in ("date", "test", "val", "time", "size", "name")
    }
    assert orders == {"date": "cab", "test": "bac", "val": "bac", "time": "bac", "size": orders["size"], "name": "abc"}
    assert orders["size"][0] == "c"
    assert [run.path.name for run in filtered(runs, data="photos")] == ["a", "c"]
    assert [run.path.name for run in filtered(runs, data="photos", state="finished")] == ["a"]
    assert [run.path.name for run in filtered(runs, arch="RESNET")] == ["c"]


LIST = """
import sys
from tl_toolkit.cli.main import app
try: app(["runs"])
except SystemExit: pass
print(sorted({"torch", "numpy", "sklearn", "matplotlib"} & set(sys.modules)))
"""


def test_list_of_a_thousand_runs_imports_no_torch(tmp_path: Path):
    run = write_run(tmp_path / "run", class_names=[f"class {number}" for number in range(100)])
    unfinished = stopped(tmp_path / "unfinished", f"{RECORD}\n" * 50)
    for number in range(1000):
        (folder := tmp_path / "runs" / f"run-{number}").mkdir(parents=True)
        for path in (run if number % 2 else unfinished).iterdir():
            (folder / path.name).hardlink_to(path)
        (folder / ".lock").touch()
    done = subprocess.run([sys.executable, "-c", LIST], cwd=tmp_path, capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert len(lines) == 1003
    assert lines[-1] == "[]"


def test_ordered_runs_are_the_same_for_equal_figures(tmp_path: Path):
    for name in "bca":
        write_run(tmp_path / name)
    assert [run.path.name for run in ordered(list_runs(tmp_path), "val")] == ["a", "b", "c"]
