from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import tl_toolkit as tl
from tests.helpers.events import decisions
from tests.helpers.folders import copy_digits
from tl_toolkit.errors import ToolkitError
from tl_toolkit.events import Event, FileWritten
from tl_toolkit.recipes.finetune import Run
from tl_toolkit.runs.suspicious_labels import SUSPICIOUS_FILE, SuspiciousLabel, read_suspicious, write_suspicious

ROWS = [
    SuspiciousLabel("train", "caf\udce9/a, b.png", "ants", 'be"es', 0.0123, 0.9877),
    SuspiciousLabel("val", "image 3", "bees", "ants", 0.2, 0.8),
]


def test_list_that_was_written_is_read_back(tmp_path: Path):
    assert read_suspicious(tmp_path) is None
    path = write_suspicious(tmp_path, ROWS)
    assert path.read_text(errors="surrogateescape").splitlines()[0] == (
        "split,image,given,suggested,given_probability,suggested_probability"
    )
    assert read_suspicious(tmp_path) == ROWS
    write_suspicious(tmp_path, [])
    assert read_suspicious(tmp_path) == []


@pytest.mark.parametrize("text", ["split,image\ntrain,a.png\n", "split,image,given,suggested,given_probability,"
    "suggested_probability\ntrain,a.png,ants,bees,x,1\n"])  # fmt: skip
def test_damaged_list_is_named(text: str, tmp_path: Path):
    (tmp_path / SUSPICIOUS_FILE).write_text(text)
    with pytest.raises(ToolkitError, match=r"suspicious_labels.csv is damaged: .* Remove it"):
        read_suspicious(tmp_path)


Train = Callable[..., tuple[Run, list[Event]]]


@pytest.fixture
def train(tmp_path: Path, small_settings: dict[str, Any]) -> Train:
    """Short runs."""
    count = 0

    def run(data: Any, **settings: Any) -> tuple[Run, list[Event]]:
        nonlocal count
        count += 1
        events: list[Event] = []
        given = {**small_settings, "tune": "linear-probe", "views": 1, "report": False, **settings}
        return tl.finetune(data=data, out=tmp_path / f"run{count}", callback=events.append, **given), events

    return run


@pytest.fixture
def mislabelled(tmp_path: Path) -> tuple[Path, set[str]]:
    """Zeros and ones, which any features tell apart, and two of them in the wrong folder."""
    folder = copy_digits(tmp_path / "digits" / "train", ["0", "1"], 30)
    wrong = set()
    for given, true in (("0", "1"), ("1", "0")):
        source = sorted((folder / true).iterdir())[3]
        target = folder / given / f"wrong{source.name}"
        source.rename(target)
        wrong.add(target.name)
    return tmp_path / "digits", wrong


def test_run_lists_the_images_in_the_wrong_folder_first(train: Train, mislabelled: tuple[Path, set[str]]):
    data, wrong = mislabelled
    run, events = train(data, arch="resnet18", weights="bundled", image_size=64, precision="fp32")
    found = read_suspicious(run.path)
    assert found is not None
    assert {Path(label.image).name for label in found[:2]} == wrong
    assert {(label.given, label.suggested) for label in found[:2]} == {("0", "1"), ("1", "0")}
    [told, *first] = decisions(events, "labels")
    assert (told.value, told.detail) == (f"{len(found)} of 60 look wrong", False)
    assert told.why.startswith("by the other images: ")
    assert told.why.endswith(f"run1/{SUSPICIOUS_FILE}")
    assert [each.value for each in first] == [label.image for label in found[:3]]
    share = 100 * found[0].suggested_probability
    assert first[0].why == f"given {found[0].given}, looks like {found[0].suggested} ({share:.0f} %)"
    assert all(each.detail for each in first)
    assert FileWritten(run.path / SUSPICIOUS_FILE, "images whose labels look wrong") in events


def test_run_computes_no_feature_twice_for_the_check(train: Train, mislabelled: tuple[Path, set[str]]):
    from tl_toolkit.events import TaskProgress

    _, events = train(mislabelled[0])
    features = {event.total for event in events if isinstance(event, TaskProgress) and event.task == "features"}
    assert sum(total or 0 for total in features) <= 60


def test_images_without_files_are_named_by_their_number(train: Train):
    bright = np.random.default_rng(0).integers(150, 256, (12, 16, 16, 3), np.uint8)
    dark = np.random.default_rng(1).integers(0, 100, (12, 16, 16, 3), np.uint8)
    targets = [0] * 12 + [1] * 12
    targets[5] = 1
    run, _ = train((np.concatenate([bright, dark]), targets))
    found = read_suspicious(run.path)
    assert found is not None
    assert "image 5" in {label.image for label in found} or any("5" in label.image for label in found)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"tune": "full"}, 'tune="full" trains no linear probe'),
        ({"feature_cache": False, "probe_epochs": 1}, "the features of the images are not stored"),
        ({"weights": "none", "probe_epochs": 1}, "the network has no pretrained weights, so its features say little"),
    ],
)
def test_run_that_does_not_check_labels_says_why(settings: dict[str, Any], reason: str, train: Train, photos: Path):
    run, events = train(photos, **settings)
    assert read_suspicious(run.path) is None
    [told] = decisions(events, "labels")
    assert (told.value, told.why, told.detail) == ("not checked", reason, True)


def test_several_labels_are_not_checked(train: Train, tmp_path: Path):
    rows = ["path,label"]
    for index in range(24):
        Image.new("RGB", (16, 16), (index * 10, 40, 90)).save(tmp_path / f"{index}.png")
        rows.append(f"{index}.png,{'a;b' if index % 3 else 'b'}")
    (tmp_path / "labels.csv").write_text("\n".join(rows) + "\n")
    _, events = train(tmp_path / "labels.csv", label_separator=";")
    [told] = decisions(events, "labels")
    assert told.why == "an image has any number of labels; a probe judges data with one class an image"
