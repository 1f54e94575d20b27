import csv
import shutil
from pathlib import Path

import pytest
from PIL import Image

from tests.helpers.folders import copy_digits
from tests.helpers.images import scene
from tl_toolkit.data.quality.scan import DataCheck, check_data, inspect_data
from tl_toolkit.data.sources.base import open_source
from tl_toolkit.events import DecisionEvent, Event, TaskProgress


def check(folder: Path) -> DataCheck:
    return check_data(open_source(folder), lambda event: None)


@pytest.fixture
def faulty(tmp_path: Path) -> Path:
    """Digits with an empty file, a copy in test, one under another class, and a photograph that was saved again."""
    copy_digits(tmp_path / "train", ["0", "1"], 20)
    copy_digits(tmp_path / "test", ["0", "1"], 10, "test")
    zeros = sorted((tmp_path / "train" / "0").iterdir())
    (tmp_path / "train" / "1" / "empty.png").touch()
    shutil.copy(zeros[0], tmp_path / "test" / "0" / "leak.png")
    shutil.copy(zeros[1], tmp_path / "train" / "1" / "mistake.png")
    scene(0).save(tmp_path / "train" / "0" / "scene.png")
    scene(0).resize((100, 75)).save(tmp_path / "test" / "0" / "smaller.png")
    scene(1).save(tmp_path / "test" / "0" / "other.png")
    return tmp_path


def test_check_data_finds_every_fault(faulty: Path):
    found = check(faulty)
    assert found.class_counts == {"train": (21, 21), "test": (13, 10)}
    assert (found.wrong, len(found.unreadable)) == (True, 1)
    seen = {(each.problem, each.splits, each.classes, Path(each.path).name) for each in found.problems}
    assert {
        ("unreadable", False, False, "empty.png"),
        ("identical", True, False, "leak.png"),
        ("identical", False, True, "mistake.png"),
        ("near-duplicate", True, False, "smaller.png"),
    } <= seen
    assert len(found.problems) == 7
    text = "\n".join(found.warnings)
    for part in (
        "1 of test is in train too",
        "1 image is in several classes",
        "look the same",
    ):
        assert part in text


def test_check_data_of_good_data_finds_nothing(tmp_path: Path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for index in range(10):
            angle = 18 * index + (90 if name == "b" else 0)
            gradient = Image.linear_gradient("L").rotate(angle).resize((40, 30)).convert("RGB")
            gradient.paste((25 * index, 0, 200), (3 * index, 5, 3 * index + 12, 20))
            gradient.save(tmp_path / name / f"{index}.png")
    found = check(tmp_path)
    assert (found.warnings, found.problems, found.wrong) == ((), (), False)


def test_check_data_tells_how_far_it_is(faulty: Path):
    events: list[Event] = []
    check_data(open_source(faulty), events.append)
    assert DecisionEvent("looks", "62 images are not compared", "they have less than 32 pixels a side") in events
    assert [event for event in events if isinstance(event, TaskProgress)][-1] == TaskProgress("check", 66, 66)


def test_check_data_writes_each_problem_with_its_group(faulty: Path, tmp_path: Path):
    found = check(faulty)
    found.write(tmp_path / "problems.csv")
    with (tmp_path / "problems.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(found.problems)
    leak = next(row for row in rows if row["path"].endswith("leak.png"))
    together = [row for row in rows if row["group"] == leak["group"]]
    assert [row["split"] for row in together] == ["train", "test"]
    assert {row["class_name"] for row in together} == {"0"}


def test_check_data_of_pixels_in_memory_compares_them_too():
    images = [Image.linear_gradient("L").rotate(30 * index) for index in (0, 1, 2, 1)]
    found = check_data(open_source((images, [0, 1, 0, 0])), lambda event: None)
    assert [(each.problem, each.path) for each in found.problems] == [
        ("identical", "image 1"),
        ("identical", "image 3"),
    ]
    assert found.wrong


def test_inspect_data_counts_and_warns_of_oddities(photos: Path):
    (photos / "0" / "bad.png").touch()
    Image.new("RGB", (50, 20)).save(photos / "1" / "colour.png")
    (photos / "nothing").mkdir()
    (photos / "nothing" / "bad.png").touch()
    (photos / "lonely").mkdir()
    Image.new("L", (8, 8)).save(photos / "lonely" / "1.png")
    found = inspect_data(open_source(photos), lambda event: None)
    assert found.class_names == ("0", "1", "7", "lonely", "nothing")
    assert found.splits["train"].class_counts == (10, 11, 10, 1, 0)
    assert found.sizes == {"width": (8, 8, 50), "height": (8, 8, 20)}
    assert found.modes == {"L": 31, "RGB": 1}
    assert found.oddities == (
        "train has no image of nothing.",
        "train has a single image of lonely: too few to learn from, or to take one for val.",
        "train is unbalanced: its largest class, 1, has 11 images, its smallest, lonely, 1. "
        'sampler="balanced" shows all classes equally often, '
        'class_weights="balanced" weights the loss by inverse class frequency.',
        "Not all images are L: RGB 1. They are converted.",
    )
