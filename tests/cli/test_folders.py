"""Folders of images as people have them, through the real commands."""

import json
import shutil
from pathlib import Path

import pytest

from tests.helpers.folders import copy_digits
from tests.helpers.terminal import run_tl
from tl_toolkit.recipes.finetune import Run

QUICK = ["--arch", "resnet18", "--weights", "bundled", "--image-size", "32", "--tune", "linear-probe", "--epochs", "1"]


@pytest.fixture
def odd_photos(photos: Path, tiny_run: Run, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory: three classes, with a run among them and other things within them."""
    shutil.copytree(tiny_run.path, photos / "runs" / "1")
    shutil.copytree(tiny_run.path, photos / "7" / "mine")
    (photos / "0" / "notes.txt").write_text("notes")
    (photos / "1" / "up").symlink_to("..", target_is_directory=True)
    monkeypatch.chdir(photos)
    return photos


NOTES = [
    "Passed over runs/, 7/mine/: written by tl.",
    "Passed over 1/up: a link to a folder that it lies in.",
    "Passed over 0/notes.txt: no image file.",
]


def notes(output: str) -> list[str]:
    lines = [line.removeprefix("Warning: ") for line in output.splitlines()]
    return [line for line in lines if line.startswith("Passed over")]


def test_finetune_in_the_folder_of_its_data_trains_the_same_classes_again_and_again(
    photos: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(photos)
    for told in ([], ["Passed over runs/: written by tl."]):
        done = run_tl("finetune", "--data", ".", "--json", *QUICK)
        assert done.exit_code == 0, done.output
        summary = json.loads(done.stdout)
        assert summary["class_names"] == ["0", "1", "7"]
        assert summary["train_images"] + summary["val_images"] == 30
        assert notes(done.stderr) == told


def test_commands_on_data_pass_over_what_is_no_image_of_a_class_and_exit_with_0(odd_photos: Path, tiny_run: Run):
    info = run_tl("data", "info", ".")
    assert (info.exit_code, notes(info.output)) == (0, NOTES), info.output
    check = run_tl("data", "check", ".", "--json")
    assert (check.exit_code, json.loads(check.stdout)["class_counts"]) == (0, {"train": [10, 10, 10]}), check.output
    assert json.loads(check.stdout)["warnings"] == NOTES
    judged = run_tl("evaluate", "--data", ".", "-m", tiny_run.path, "--json")
    result = json.loads(judged.stdout)
    assert (judged.exit_code, result["images"] + result["left_out_images"]) == (0, 30), judged.output
    assert notes(judged.stderr) == NOTES
    ranked = run_tl("rank", "--data", ".", "--arch", "resnet18", "--weights", "bundled", "--image-size", "32", "--json")
    assert (ranked.exit_code, notes(ranked.stderr)) == (0, NOTES), ranked.output


def test_predict_of_a_folder_passes_over_what_is_no_image_and_exits_with_0(odd_photos: Path, tiny_run: Run):
    done = run_tl("predict", ".", "-m", tiny_run.path, "-f", "jsonl")
    assert done.exit_code == 0, done.output
    paths = [json.loads(line)["path"] for line in done.stdout.splitlines()]
    assert len(paths) == 30
    assert all(Path(path).suffix == ".png" and len(Path(path).parts) == 2 for path in paths)
    assert sorted(notes(done.stderr)) == sorted(NOTES)


def test_predict_of_a_folder_with_a_grid_that_it_drew_there_passes_it_over(photos: Path, tiny_run: Run):
    grid = photos / "grid.png"
    assert run_tl("predict", photos / "0", "-m", tiny_run.path, "--grid", grid).exit_code == 0
    done = run_tl("predict", photos, "-m", tiny_run.path, "-f", "jsonl")
    assert len(done.stdout.splitlines()) == 30
    assert notes(done.stderr) == [f"Passed over {grid}: written by tl."]


def test_predict_of_a_text_file_by_its_name_tells_that_it_is_none(odd_photos: Path, tiny_run: Run):
    done = run_tl("predict", "0/notes.txt", "-m", tiny_run.path, "-f", "jsonl")
    assert done.exit_code == 3
    assert json.loads(done.stdout)["error"] == "not an image that Pillow can read"


@pytest.mark.parametrize(
    "command",
    [
        ["finetune", *QUICK, "--data"],
        ["rank", "--data"],
        ["data", "info"],
        ["data", "check"],
        ["evaluate", "-m", "RUN", "--data"],
    ],
)
def test_commands_on_the_folder_above_the_data_name_the_one_that_is_meant(
    in_folder: Path, tiny_run: Run, command: list[str]
):
    copy_digits(in_folder / "top" / "photos", ["0", "1"], 3)
    done = run_tl(*(str(tiny_run.path) if argument == "RUN" else argument for argument in command), "top")
    assert done.exit_code == 1
    assert done.stderr.splitlines()[-1] == (
        "Error: top has no images in its class folders (photos), but top/photos has folders of images: "
        "say --data top/photos."
    )


def test_data_info_of_a_folder_with_a_readme_beside_its_classes_says_nothing_of_it(photos: Path):
    (photos / "README.md").write_text("where they are from")
    done = run_tl("data", "info", photos)
    assert (done.exit_code, done.stderr) == (0, "")
    assert "README" not in done.stdout
