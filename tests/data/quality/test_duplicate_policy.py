import shutil
from pathlib import Path

import pytest

from tests.helpers.events import warning_messages
from tests.helpers.folders import copy_digits
from tl_toolkit.config.finetune import FinetuneConfig
from tl_toolkit.data.prepare import Splits, prepare_splits
from tl_toolkit.data.sources.base import open_source
from tl_toolkit.errors import DataError
from tl_toolkit.events import DecisionEvent, Event


@pytest.fixture
def leaky(tmp_path: Path) -> Path:
    """Ten digits a class in train, some in val and test; test has two of train and one of val, val one of train."""
    for split, source, count in (("train", "train", 10), ("val", "test", 4), ("test", "test", 8)):
        copy_digits(tmp_path / split, ["0", "1"], count, source)
    for path in sorted((tmp_path / "test").glob("*/*"))[:4] + sorted((tmp_path / "test" / "1").iterdir())[:4]:
        path.unlink()  # What val has too.
    zeros = sorted((tmp_path / "train" / "0").iterdir())
    shutil.copy(zeros[0], tmp_path / "test" / "0" / "leak a.png")
    shutil.copy(zeros[1], tmp_path / "test" / "0" / "leak b.png")
    shutil.copy(zeros[2], tmp_path / "val" / "0" / "leak c.png")
    ones = sorted((tmp_path / "val" / "1").iterdir())
    shutil.copy(ones[0], tmp_path / "test" / "1" / "leak d.png")
    return tmp_path


def prepare(folder: Path, **settings: object) -> tuple[Splits, list[Event]]:
    events: list[Event] = []
    return prepare_splits(open_source(folder), FinetuneConfig(**settings), 0, events.append), events


def sizes(splits: Splits) -> list[int]:
    return [len(samples) for samples in splits.present.values()]


def test_prepare_splits_with_leaks_warns_and_keeps_them(leaky: Path):
    splits, events = prepare(leaky)
    assert sizes(splits) == [20, 9, 11]
    message = next(each for each in warning_messages(events) if "several splits" in each)
    first, *examples, remedy = message.splitlines()
    assert first == (
        "The same images are in several splits: 2 of test are in train too, 1 of val is in train too, 1 of test is in "
        "val too. Accuracy on them says nothing of new images."
    )
    assert len(examples) == 4
    assert examples[0].count(" = ") == 1
    assert "leak a.png" in examples[0]
    assert remedy == 'duplicates="drop" leaves out the copies, duplicates="fail" stops.'


def test_prepare_splits_that_drops_leaves_test_as_it_is(leaky: Path):
    splits, events = prepare(leaky, duplicates="drop")
    assert sizes(splits) == [17, 8, 11]
    assert DecisionEvent("copies", "3 images of train, 1 image of val left out", 'duplicates="drop"') in events
    assert not [each for each in warning_messages(events) if "several splits" in each]
    reasons = [(image.split, image.reason) for image in splits.dropped]
    assert reasons[0] == ("train", f"also in test: {leaky / 'test' / '0' / 'leak a.png'}")
    assert [split for split, _ in reasons] == ["train", "train", "train", "val"]
    assert splits.bad == []


def test_prepare_splits_that_fails_on_copies_names_them(leaky: Path):
    with pytest.raises(DataError, match=r'(?s)several splits: 2 of test .*leak a\.png.*duplicates="drop"'):
        prepare(leaky, duplicates="fail")


def test_prepare_splits_without_copies_is_silent(photos: Path):
    splits, events = prepare(photos, duplicates="fail")
    assert splits.dropped == []
    assert warning_messages(events) == ["val has 3 images only, so model selection will be noisy: see val_split."]


def test_prepare_splits_that_drops_keeps_the_first_of_repeats_and_none_of_two_classes(tmp_path: Path):
    train = copy_digits(tmp_path / "train", ["0", "1", "7"], 10)
    copy_digits(tmp_path / "val", ["0", "1", "7"], 4, "test")
    zeros, ones = (sorted((train / name).iterdir()) for name in ("0", "1"))
    shutil.copy(zeros[0], train / "0" / "z repeat.png")
    shutil.copy(ones[0], train / "7" / "z mistake.png")
    _, events = prepare(tmp_path)
    told = "one at most is right. To give an image several labels, write them in a table.\n  "
    assert f"1 image is in several classes: {told}" in "\n".join(warning_messages(events))
    assert "z mistake.png (1, 7)\n" in "\n".join(warning_messages(events))
    assert "Some images are repeated within a class of a split (1 in " in "\n".join(warning_messages(events))
    splits, _ = prepare(tmp_path, duplicates="drop")
    assert {(Path(image.path).name, image.reason) for image in splits.dropped} == {
        ("z repeat.png", f"the same as {zeros[0]}"),
        (ones[0].name, "in several classes: 1, 7"),
        ("z mistake.png", "in several classes: 1, 7"),
    }


def test_prepare_splits_of_the_same_file_under_several_classes_refuses_and_names_tables(tmp_path: Path):
    train = copy_digits(tmp_path / "train", ["0", "1", "7"], 10)
    copy_digits(tmp_path / "val", ["0", "1", "7"], 4, "test")
    both = Path(shutil.copy(min((train / "1").iterdir()), train / "7"))
    with pytest.raises(DataError) as refused:
        prepare(tmp_path)
    assert str(refused.value) == (
        "1 image is in several classes under the same file name:\n"
        f"  {train / '1' / both.name} = {both} (1, 7)\n"
        "If these images have several labels, write them in a table, such as a CSV file with the columns path and "
        'label and label_separator=";". If only one class is right, remove the others, or leave such images out with '
        'duplicates="drop".'
    )
    splits, _ = prepare(tmp_path, duplicates="drop")
    assert [image.path for image in splits.dropped] == [str(train / "1" / both.name), str(both)]


def test_prepare_splits_warns_of_a_copy_that_the_drawn_val_shares_with_train(photos: Path):
    for path in sorted((photos / "0").iterdir()):
        shutil.copy(path, path.with_stem(f"{path.stem} again"))
    _, events = prepare(photos)
    assert "of val" in next(each for each in warning_messages(events) if "several splits" in each)
    splits, events = prepare(photos, duplicates="drop")
    assert len(splits.dropped) == 10
    assert not [each for each in warning_messages(events) if "several splits" in each]


def test_prepare_splits_that_would_drop_a_whole_class_refuses(tmp_path: Path):
    copy_digits(tmp_path / "train", ["0", "1"], 4)
    copy_digits(tmp_path / "test", ["0"], 4)
    with pytest.raises(DataError, match=r"Without its copies train has no image of 0: all are in val, test or another"):
        prepare(tmp_path, duplicates="drop")


def test_prepare_splits_leaves_out_the_same_on_every_run(leaky: Path):
    first, second = (prepare(leaky, duplicates="drop")[0] for _ in range(2))
    assert first.dropped == second.dropped
    assert first.train.names() == second.train.names()
