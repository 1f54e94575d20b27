"""Resuming a run whose images moved or changed."""

import dataclasses
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

import tl_toolkit as tl
from tests.helpers.runs import assert_same_run, stop_after
from tl_toolkit.errors import RunInterruptedError, UsageError
from tl_toolkit.io.own_files import CHECKPOINT_FILE
from tl_toolkit.runs.checkpoint import Checkpoint


@pytest.fixture
def moved_data(stopped: tuple[Path, Path], stopped_run: Path, tmp_path: Path) -> Path:
    """The stopped run's images elsewhere, with other times, and no longer where they were."""
    moved = shutil.copytree(stopped[1], tmp_path / "elsewhere" / "photos", copy_function=shutil.copyfile)
    config = stopped_run / "config.yaml"
    config.write_text(config.read_text().replace(str(stopped[1]), str(tmp_path / "gone")))
    return moved


def test_resume_with_changed_images_is_refused(stopped: tuple[Path, Path], stopped_run: Path):
    image = min((stopped[1] / "0").iterdir())
    extra = shutil.copy(image, image.with_name("another.png"))
    try:
        with pytest.raises(UsageError, match=r"train \(.*before.*now\) .*changed since its checkpoint"):
            tl.resume(stopped_run)
    finally:
        extra.unlink()


def test_resume_on_images_that_moved_ends_with_the_same_bits(settings: dict[str, Any], tmp_path: Path):
    data = shutil.copytree(settings["data"], tmp_path / "data")
    settings |= {"data": data, "tune": "lp-ft", "probe_epochs": 3, "epochs": 2}
    whole = tl.finetune(out=tmp_path / "whole", **settings)
    with pytest.raises(RunInterruptedError):
        tl.finetune(out=tmp_path / "stopped", callback=stop_after(6), **settings)
    moved = shutil.copytree(data, tmp_path / "elsewhere" / "photos", copy_function=shutil.copyfile)
    shutil.rmtree(data)
    resumed = tl.resume(tmp_path / "stopped", data=moved)
    assert_same_run(resumed.path, whole.path)
    assert resumed.summary["data"] == str(moved)
    longer = tl.resume(resumed.path, epochs=3)  # Its config.yaml has the new place.
    assert longer.summary["epochs"] == 3


def test_resume_on_images_that_are_gone_says_how_to_name_their_place(
    stopped_run: Path, moved_data: Path, tmp_path: Path
):
    with pytest.raises(UsageError) as error:
        tl.resume(stopped_run)
    assert str(error.value) == (
        f"The images of {stopped_run} are not where they were: there is no folder {tmp_path}/gone. Say with data where "
        "they are now; they must be the same ones."
    )
    assert tl.resume(stopped_run, data=str(moved_data)).summary["epochs"] == 4


def test_resume_on_other_images_than_those_that_moved_names_what_differs(stopped_run: Path, moved_data: Path):
    image = min((moved_data / "0").iterdir())
    image.write_bytes(max((moved_data / "1").iterdir()).read_bytes())
    with pytest.raises(UsageError) as error:
        tl.resume(stopped_run, data=moved_data)
    found = re.fullmatch(
        r"(.*) cannot be resumed exactly: (train|val) \((\d+ images), (\w+) before, (\d+ images), (\w+) now\) "
        r"changed since its checkpoint\. Put back what was there, or train a new run: its settings are in .*",
        str(error.value),
    )
    assert found
    assert (found[1], found[3], found[4] != found[6]) == (str(stopped_run), found[5], True)


def test_resume_on_images_that_moved_with_a_class_renamed_is_refused(stopped_run: Path, moved_data: Path):
    (moved_data / "0").rename(moved_data / "00")
    with pytest.raises(UsageError, match=r"exactly: classes \(0, 1 before, 00, 1 now\)"):
        tl.resume(stopped_run, data=moved_data)


def test_resume_of_an_earlier_versions_checkpoint_goes_on_where_its_images_stayed(
    stopped: tuple[Path, Path], stopped_run: Path, tmp_path: Path
):
    path = stopped_run / CHECKPOINT_FILE
    kept = Checkpoint.read(path)
    assert kept
    earlier = {
        name: value for name, value in kept.resume_fingerprint.items() if name != "classes" and "contents" not in name
    }
    earlier["settings"] = {**kept.resume_fingerprint["settings"], "data": str(stopped[1])}
    dataclasses.replace(kept, resume_fingerprint=earlier).write(path)
    moved = shutil.copytree(stopped[1], tmp_path / "moved")
    with pytest.raises(UsageError, match=r"exactly: train \(.* before, .* now\) and val .*changed since"):
        tl.resume(stopped_run, data=moved)
    assert tl.resume(stopped_run).summary["epochs"] == 4
