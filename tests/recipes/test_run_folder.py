import dataclasses
import json
import os
from pathlib import Path

import pytest

from tests.conftest import eval_record
from tl_toolkit.errors import ToolkitError, UsageError, shown
from tl_toolkit.recipes.run_folder import create_run_folder, newest_run, read_metrics, read_summary


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
        ("3", "line 1 must be a mapping, not 3"),
        ('{"val_loss": 1}', "line 1 has other fields than it must"),
        ("[" * 100_000, "is damaged: maximum recursion"),
    ],
    ids=shown,
)
def test_read_metrics_of_a_line_that_is_no_record_says_which(line: str, message: str, tmp_path: Path):
    (tmp_path / "metrics.jsonl").write_text(f"{line}\n")
    with pytest.raises(ToolkitError, match=message):
        read_metrics(str(tmp_path))


def test_read_metrics_of_a_field_of_another_type_says_which(tmp_path: Path):
    record = dataclasses.asdict(eval_record("tune", 1, 2))
    (tmp_path / "metrics.jsonl").write_text(json.dumps({**record, "val_accuracy": "all"}) + "\n")
    with pytest.raises(ToolkitError, match="val_accuracy of line 1 must be a number, not 'all'"):
        read_metrics(str(tmp_path))


@pytest.mark.parametrize(
    ("text", "message"),
    [("", "Expecting value"), ("[]", "it must be a mapping"), ('{"epochs": 3}', "it lacks 'val_images'")],
)
def test_read_summary_that_is_damaged_says_what_to_do(text: str, message: str, tmp_path: Path):
    (tmp_path / "summary.json").write_text(text)
    with pytest.raises(ToolkitError, match=f"is damaged: {message}.* Remove it, and resume writes it again"):
        read_summary(tmp_path)
