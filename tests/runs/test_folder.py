import dataclasses
import json
import math
import os
from pathlib import Path

import pytest

from tests.helpers.events import eval_record
from tl_toolkit.errors import ToolkitError, UsageError
from tl_toolkit.runs.folder import create_run_folder, newest_run
from tl_toolkit.runs.metrics_log import read_metrics
from tl_toolkit.runs.summary import read_summary
from tl_toolkit.text import format_value


def test_create_run_folder_numbers_runs_of_one_day(in_folder: Path):
    names = [create_run_folder(None, "vgg16", "my photos/of 2024").name for _ in range(3)]
    assert names[0].endswith("-vgg16-my-photos-of-2024")
    assert names[1:] == [f"{names[0]}-2", f"{names[0]}-3"]


def test_create_run_folder_makes_exactly_out(tmp_path: Path):
    assert create_run_folder(str(tmp_path / "a" / "größer"), "vgg16", "x") == tmp_path / "a" / "größer"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_create_run_folder_where_nothing_can_be_written_says_so(tmp_path: Path):
    tmp_path.chmod(0o500)
    with pytest.raises(ToolkitError, match="Permission denied. Choose another out"):
        create_run_folder(str(tmp_path / "run"), "vgg16", "x")


def test_newest_run_is_the_one_whose_model_was_written_last(tmp_path: Path):
    for age, name in ((30, "b"), (10, "a"), (20, "c")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.safetensors").touch()
        os.utime(tmp_path / name / "model.safetensors", (1000 - age, 1000 - age))
    (tmp_path / "unfinished").mkdir()
    assert newest_run(tmp_path).name == "a"


def test_newest_run_without_any_says_how_to_make_one(tmp_path: Path):
    with pytest.raises(UsageError, match=r"There is no run in .*\. Train one with `tl finetune`"):
        newest_run(tmp_path / "runs")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "is damaged: Expecting"),
        ("3", "line 1: Expected `object`, got `int`"),
        ('{"val_loss": 1}', "line 1: Object missing required field `stage`"),
        ("[" * 100_000, "is damaged: maximum recursion"),
        ('{"step": 9223372036854775808}', "is damaged: the number 9223372036854775808 is beyond 64 bits"),
    ],
    ids=format_value,
)
def test_read_metrics_of_a_line_that_is_no_record_says_which(line: str, message: str, tmp_path: Path):
    (tmp_path / "metrics.jsonl").write_text(f"{line}\n")
    with pytest.raises(ToolkitError, match=message):
        read_metrics(str(tmp_path))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"val_accuracy": "all"}, r"line 1: Expected `float`, got `str` - at `\$.val_accuracy`"),
        ({"val_accuracy": True}, r"line 1: Expected `float`, got `bool` - at `\$.val_accuracy`"),
        ({"epoch": -1}, r"line 1: Expected `int` >= 0 - at `\$.epoch`"),
        ({"extra": 1}, "line 1: Object contains unknown field `extra`"),
    ],
)
def test_read_metrics_of_a_field_that_does_not_fit_says_which(change: dict[str, object], message: str, tmp_path: Path):
    record = dataclasses.asdict(eval_record("tune", 1, 2))
    (tmp_path / "metrics.jsonl").write_text(json.dumps({**record, **change}) + "\n")
    with pytest.raises(ToolkitError, match=message):
        read_metrics(str(tmp_path))


def test_read_metrics_reads_nan_and_infinity(tmp_path: Path):
    record = dataclasses.replace(eval_record("tune", 1, 2), train_loss=math.inf, val_loss=math.nan)
    (tmp_path / "metrics.jsonl").write_text(json.dumps(dataclasses.asdict(record)) + "\n")
    [read] = read_metrics(str(tmp_path))
    assert read.train_loss == math.inf
    assert math.isnan(read.val_loss)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "Expecting value"),
        ("[]", "Expected `object`, got `array`"),
        ('{"epochs": 3}', "Object missing required field `run`"),
    ],
)
def test_read_summary_that_is_damaged_says_what_to_do(text: str, message: str, tmp_path: Path):
    (tmp_path / "summary.json").write_text(text)
    with pytest.raises(ToolkitError, match=f"is damaged: {message}.* Remove it, and resume writes it again"):
        read_summary(tmp_path)


FINISHED = {
    "run": "runs/one", "epochs": 4, "val_images": 10, "test_images": 0, "seconds": 2.5, "val_accuracy": 0.9,
    "test_accuracy": None, "class_accuracy": {"a": 0.9}, "bad_images": [],
}  # fmt: skip
STAGES = {"best_stage": "probe", "best_epoch": 4, "stages": {"probe": {"val_accuracy": 0.9, "epoch": 4}}}


@pytest.mark.parametrize(
    "stages",
    [{}, STAGES, {**STAGES, "stages": {"probe": 0.9}}],
    ids=["first version", "this version", "accuracies alone"],
)
def test_read_summary_reads_those_of_every_version(stages: dict[str, object], tmp_path: Path):
    (tmp_path / "summary.json").write_text(json.dumps({**FINISHED, **stages}))
    assert read_summary(tmp_path) == {**FINISHED, **stages}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stages": []}, r"Expected `object`, got `array` - at `\$.stages`"),
        ({"best_stage": "tune"}, "its best_stage 'tune' is not one of its stages"),
        ({"best_epoch": "4"}, r"Expected `int`, got `str` - at `\$.best_epoch`"),
        ({"stages": {"probe": {"epoch": 4}}}, "Object missing required field `val_accuracy`"),
        ({"stages": {"probe": "all"}}, r"Expected `float \| object`, got `str` - at `\$.stages"),
        ({"seconds": -1}, r"Expected `float` >= 0.0 - at `\$.seconds`"),
    ],
)
def test_read_summary_of_stages_that_make_no_sense_says_so(change: dict[str, object], message: str, tmp_path: Path):
    (tmp_path / "summary.json").write_text(json.dumps({**FINISHED, **STAGES, **change}))
    with pytest.raises(ToolkitError, match=f"is damaged: {message}"):
        read_summary(tmp_path)
