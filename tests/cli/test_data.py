"""`tl data` as a person types it."""

import contextlib
import csv
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.folders import copy_digits
from tests.helpers.terminal import run_tl
from tl_toolkit.events import Event, TaskProgress
from tl_toolkit.io.download import ProgressCallback


@pytest.fixture
def digits(tmp_path: Path) -> Path:
    copy_digits(tmp_path / "digits" / "train", ["0", "1"], 12)
    copy_digits(tmp_path / "digits" / "test", ["0", "1"], 6, "test")
    return tmp_path / "digits"


def leak(folder: Path) -> None:
    shutil.copy(min((folder / "train" / "0").iterdir()), folder / "test" / "0" / "leak.png")


def test_data_check_tells_errors_in_a_column_of_their_own(digits: Path):
    (digits / "train" / "0" / "empty.png").touch()
    done = run_tl("data", "check", digits)
    assert done.exit_code == 3
    heading, image = done.stderr.partition("Warning: 1 image cannot be read:\n")[2].splitlines()
    assert re.fullmatch(r"image +error", heading.rstrip())
    assert image.rstrip() == f"{digits}/train/0/empty.png  the file is empty"
    assert "problems" not in done.stdout


def test_data_check_without_faults_exits_with_0(digits: Path):
    done = run_tl("data", "check", digits)
    assert done.exit_code == 0, done.output
    assert "digits, 2 classes: 24 train, 12 test images that can be read\nproblems    none\n" in done.stdout


def test_data_check_with_a_leak_exits_with_1_and_writes_it(digits: Path, tmp_path: Path):
    leak(digits)
    done = run_tl("data", "check", digits, "--csv", tmp_path / "found.csv")
    assert done.exit_code == 1
    assert "1 of test is in train too" in done.output
    with (tmp_path / "found.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["problem"] == "identical"]
    assert [row["split"] for row in rows] == ["train", "test"]


def test_data_check_with_an_unreadable_image_exits_with_3(digits: Path):
    (digits / "test" / "0" / "empty.png").touch()
    done = run_tl("data", "check", digits, "--json")
    assert done.exit_code == 3
    found = json.loads(done.stdout)
    assert found["problems"][0]["reason"] == "the file is empty"
    assert found["class_counts"] == {"train": [12, 12], "test": [6, 6]}
    leak(digits)
    assert run_tl("data", "check", digits).exit_code == 1


def test_data_check_overwrites_no_file(digits: Path, tmp_path: Path):
    (tmp_path / "found.csv").write_text("mine")
    done = run_tl("data", "check", digits, "--csv", tmp_path / "found.csv")
    assert done.exit_code == 2
    assert "found.csv exists; nothing is ever overwritten." in done.output
    assert (tmp_path / "found.csv").read_text() == "mine"


def test_data_check_says_no_to_a_folder_of_the_csv_that_is_not_there(digits: Path, tmp_path: Path):
    done = run_tl("data", "check", digits, "--csv", tmp_path / "nowhere" / "found.csv")
    assert done.exit_code == 2
    assert "There is no folder" in done.output


def test_data_info_shows_counts_sizes_and_oddities(photos: Path):
    (photos / "0" / "bad.png").touch()
    done = run_tl("data", "info", photos)
    assert done.exit_code == 3
    assert "photos, 3 classes" in done.stdout
    assert "modes       L 30\n" in done.stdout
    assert "the file is empty" in done.stderr
    assert json.loads(run_tl("data", "info", photos, "--json").stdout)["splits"]["train"]["images"] == 30


@pytest.mark.parametrize("command", ["info", "check"])
def test_data_commands_show_the_progress_of_a_download(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    @contextlib.contextmanager
    def downloads(progress: ProgressCallback | None) -> Iterator[None]:
        if progress:
            progress(5, 10)
        raise OSError("interrupted")
        yield

    events: list[Event] = []
    monkeypatch.setattr("tl_toolkit.data.sources.torchvision.checked_downloads", downloads)
    monkeypatch.setattr("tl_toolkit.cli.progress.ProgressDisplay.__call__", lambda self, event: events.append(event))
    done = run_tl("data", command, "torchvision:cifar10", "--download", "--data-root", tmp_path)
    assert (done.exit_code, events) == (1, [TaskProgress("download", 5, 10, "bytes")]), done.output
    assert "torchvision:cifar10 could not be downloaded" in done.stderr


def test_data_check_with_labels_lists_images_in_the_wrong_folder(digits: Path, tmp_path: Path):
    wrong = digits / "train" / "0" / "wrong.png"
    min((digits / "train" / "1").iterdir()).rename(wrong)
    done = run_tl("data", "check", digits, "--labels", "--csv", tmp_path / "found.csv")
    assert done.exit_code == 0, done.output
    assert "Labels that look wrong" in done.stdout
    assert re.search(rf"{wrong} +0 +1 \(\d+\.\d %\)", done.stdout)
    assert re.search(r"labels +\d+ of 36 look wrong +by the other images and tf_efficientnet_lite0", done.stderr)
    rows = list(csv.DictReader((tmp_path / "found.csv").read_text().splitlines()))
    found = {row["path"]: row for row in rows if row["problem"] == "label"}
    assert (found[str(wrong)]["split"], found[str(wrong)]["class_name"]) == (
        "train",
        "0",
    )  # Though val is taken from it.


def test_data_check_with_labels_of_one_class_says_why_not(tmp_path: Path):
    folder = copy_digits(tmp_path / "one", ["0"], 6)
    done = run_tl("data", "check", folder, "--labels")
    assert done.exit_code == 0, done.output
    assert re.search(r"labels +not checked", done.stderr)
