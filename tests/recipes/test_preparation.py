from pathlib import Path

import pytest

from tests.conftest import copy_digits
from tl_toolkit.config import FinetuneConfig
from tl_toolkit.data.sources import open_source
from tl_toolkit.errors import DataError
from tl_toolkit.recipes.events import Event, Warned
from tl_toolkit.recipes.preparation import Splits, prepare_splits


def prepare(folder: Path, **settings: object) -> tuple[Splits, list[Event]]:
    events: list[Event] = []
    return prepare_splits(open_source(folder), FinetuneConfig(**settings), events.append), events


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
    assert Warned("val has no image of 7: they are not judged.") in events


def test_prepare_splits_with_many_bad_images_lists_the_first(photos: Path):
    for index in range(7):
        (photos / "0" / f"bad{index}.png").touch()
    splits, events = prepare(photos)
    assert len(splits.bad) == 7
    warning = next(event.message for event in events if isinstance(event, Warned))
    assert warning.startswith("7 images cannot be read and are left out:\n")
    assert warning.endswith("... and 2 more")


def test_prepare_splits_warns_of_a_val_that_is_too_small_to_choose_by(photos: Path):
    _, events = prepare(photos)
    assert Warned("val has 3 images only, so chance has a say in what is best: see --val-split.") in events
