from pathlib import Path

import numpy as np
import pytest

from tests.helpers.folders import copy_digits
from tl_toolkit.config.finetune import FinetuneConfig
from tl_toolkit.data.pixels import ARRAYS
from tl_toolkit.data.prepare import Splits, prepare_splits
from tl_toolkit.data.sources.base import open_source
from tl_toolkit.errors import ConfigError, DataError
from tl_toolkit.events import DecisionEvent, Event, WarningEvent


def prepare(folder: Path, **settings: object) -> tuple[Splits, list[Event]]:
    events: list[Event] = []
    return prepare_splits(open_source(folder), FinetuneConfig(**settings), 0, events.append), events


def test_prepare_splits_uses_the_datas_own_val(tmp_path: Path):
    copy_digits(tmp_path / "train", ["0", "1"], 4)
    copy_digits(tmp_path / "valid", ["0", "1"], 2, "test")
    splits, _ = prepare(tmp_path)
    assert (len(splits.train), len(splits.val), splits.test) == (8, 4, None)
    assert splits.val_origin == "the data's own split"


def test_prepare_splits_of_the_same_folder_elsewhere_splits_alike(photos: Path, tmp_path: Path):
    splits, _ = prepare(photos)
    moved, _ = prepare(photos.rename(tmp_path / "moved"))
    assert [Path(name).name for name in splits.val.names()] == [Path(name).name for name in moved.val.names()]


def test_prepare_splits_of_lonely_images_has_nothing_to_choose_by(tmp_path: Path):
    copy_digits(tmp_path, ["0", "1"], 1)
    with pytest.raises(DataError, match="val has no readable images to choose by"):
        prepare(tmp_path)


def test_prepare_splits_warns_of_a_class_that_val_lacks(tmp_path: Path):
    copy_digits(tmp_path / "train", ["0", "1", "7"], 4)
    copy_digits(tmp_path / "val", ["0", "1"], 2, "test")
    _, events = prepare(tmp_path)
    assert WarningEvent("val has no image of 7: their accuracy will be unknown.") in events


def test_prepare_splits_with_many_bad_images_lists_the_first(photos: Path):
    for index in range(7):
        (photos / "0" / f"bad{index}.png").touch()
    splits, events = prepare(photos)
    assert len(splits.bad) == 7
    warning = next(event.message for event in events if isinstance(event, WarningEvent))
    assert warning.startswith("7 images cannot be read and are left out:\n")
    assert warning.endswith("... and 2 more")


def test_prepare_splits_warns_of_a_val_that_is_too_small_to_choose_by(photos: Path):
    _, events = prepare(photos)
    assert WarningEvent("val has 3 images only, so model selection will be noisy: see val_split.") in events


def test_prepare_splits_with_numbers_of_images_takes_just_these(tmp_path: Path):
    copy_digits(tmp_path / "train", ["0", "1"], 30)
    copy_digits(tmp_path / "test", ["0", "1"], 8, "test")
    splits, _ = prepare(tmp_path, train_images=20, val_images=10, test_images=6)
    assert [len(part) for part in (splits.train, splits.val, splits.test)] == [20, 10, 6]
    assert [part.targets.count(0) for part in (splits.train, splits.val, splits.test)] == [10, 5, 3]
    assert not set(splits.train.names()) & set(splits.val.names())
    assert splits.val_origin == "drawn from each class of train, seed 0"


def test_prepare_splits_in_order_takes_val_from_the_end_and_train_from_the_beginning(tmp_path: Path):
    copy_digits(tmp_path, ["0", "1"], 10)
    splits, events = prepare(tmp_path, draw="in-order", val_images=4, train_images=12)
    assert splits.val.targets == [1, 1, 1, 1]
    assert splits.train.targets == [0] * 10 + [1] * 2
    assert splits.val_origin == "the last 4 of train, as it is ordered"
    assert "val has no image of 0: their accuracy will be unknown." in [
        e.message for e in events if isinstance(e, WarningEvent)
    ]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"val_images": 20}, "val_images is 20, but train has 20 images: some must remain"),
        ({"train_images": 19}, "train_images is 19, but train has 18 images"),
        ({"test_images": 5}, "test_images is 5, but .* has no test split"),
        ({"drop_last": True}, "drop_last leaves no batch: train has 18 images, batch_size is 32"),
    ],
)
def test_prepare_splits_with_more_than_there_is_says_so(tmp_path: Path, settings: dict[str, object], message: str):
    copy_digits(tmp_path, ["0", "1"], 10)
    with pytest.raises(ConfigError, match=message):
        prepare(tmp_path, **settings)


def test_prepare_splits_of_arrays_of_nan_advises_on_arrays():
    images = np.full((6, 8, 8, 3), np.nan)
    with pytest.raises(DataError) as error:
        prepare_splits(open_source((images, [0, 1] * 3)), FinetuneConfig(), 0, lambda event: None)
    assert str(error.value) == (
        "train has no readable image of 0, 1; the first that cannot be read is image 0: some pixels are NaN or "
        f"infinite. {ARRAYS}"
    )


def test_prepare_splits_of_arrays_with_a_gap_in_their_targets_advises_on_targets():
    images = np.zeros((6, 8, 8, 3), np.uint8)
    with pytest.raises(DataError, match="train has no readable image of 1. Targets are the numbers from 0 on, without"):
        prepare_splits(open_source((images, [0, 2] * 3)), FinetuneConfig(), 0, lambda event: None)


def test_prepare_splits_of_arrays_with_nan_in_one_image_leaves_it_out():
    images = np.zeros((40, 8, 8))
    images[3, 0, 0] = np.nan
    splits = prepare_splits(open_source((images, [0, 1] * 20)), FinetuneConfig(), 0, lambda event: None)
    assert [(image.path, image.reason) for image in splits.bad] == [("image 3", "some pixels are NaN or infinite")]


def grouped(folder: Path, tmp_path: Path, size: int = 5, **settings: object) -> tuple[Splits, list[Event]]:
    files = sorted(folder.glob("*/*"))
    rows = [f"{file},{file.parent.name},p{index // size}" for index, file in enumerate(files)]
    (tmp_path / "groups.csv").write_text("\n".join(["path,label,patient", *rows]))
    events: list[Event] = []
    source = open_source(str(tmp_path / "groups.csv"), group_column="patient")
    return prepare_splits(source, FinetuneConfig(**settings), 0, events.append), events


def test_prepare_splits_with_groups_keeps_them_whole_and_tells(tmp_path: Path):
    photos = copy_digits(tmp_path / "photos", ["0", "1", "7"], 20)
    splits, _ = grouped(photos, tmp_path, val_split=0.25)
    assert not set(splits.train.groups) & set(splits.val.groups)
    assert [splits.val.targets.count(target) for target in range(3)] == [5, 5, 5]
    assert splits.val_origin == "25% of each class of train as nearly as whole groups allow, 3 of 12 groups, seed 0"


def test_prepare_splits_with_groups_and_numbers_takes_whole_groups_and_tells(tmp_path: Path):
    photos = copy_digits(tmp_path / "photos", ["0", "1", "7"], 20)
    splits, events = grouped(photos, tmp_path, val_images=16, train_images=17)
    assert (len(splits.val), len(splits.train)) == (15, 15)
    assert not set(splits.train.groups) & set(splits.val.groups)
    sizes = [event for event in events if isinstance(event, DecisionEvent) and event.what.endswith("size")]
    assert sizes == [
        DecisionEvent("train size", "15 images of 3 groups", "train_images=17, as nearly as whole groups allow"),
        DecisionEvent("val size", "15 images of 3 groups", "val_images=16, as nearly as whole groups allow"),
    ]


def test_prepare_splits_of_table_with_missing_files_names_the_first(tmp_path: Path):
    (tmp_path / "table.csv").write_text("path,label\na.png,cat\nb.png,dog\n")
    with pytest.raises(DataError) as raised:
        prepare(tmp_path / "table.csv")
    assert str(raised.value) == (
        f"train has no readable image of cat, dog; the first that cannot be read is {tmp_path}/a.png: No such file or "
        "directory. Add images, or take its rows out of table.csv."
    )


def test_prepare_splits_with_one_group_a_class_is_refused(photos: Path, tmp_path: Path):
    with pytest.raises(DataError) as raised:
        grouped(photos, tmp_path, size=10)
    assert str(raised.value) == (
        "train has 3 groups, and without any of them it lacks a class: there is none for val. Add groups of these "
        "classes, or images of their own as val, or leave out group_column."
    )


def test_prepare_splits_with_groups_in_order_is_refused(photos: Path, tmp_path: Path):
    with pytest.raises(ConfigError) as raised:
        grouped(photos, tmp_path, draw="in-order")
    assert str(raised.value) == 'draw="in-order" may divide groups; leave it out, or group_column.'
