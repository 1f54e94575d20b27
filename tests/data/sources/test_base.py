from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import TensorDataset

from tests.helpers.folders import touch_files
from tl_toolkit.data.pixels import ARRAYS
from tl_toolkit.data.sources.base import open_source
from tl_toolkit.errors import DataError, UnknownNameError, UsageError


def test_open_source_of_digits_has_both_splits_and_no_mirroring():
    source = open_source("digits")
    assert {name: len(samples) for name, samples in source.splits.items()} == {"train": 1442, "test": 355}
    assert source.class_names == tuple("0123456789")
    assert not source.allow_hflip


def test_open_source_of_a_folder_matches_classes_by_name(tmp_path: Path):
    root = touch_files(tmp_path / "my photos", "train/a/1.jpg", "train/b/1.jpg", "test/b/1.jpg")
    source = open_source(root)
    assert source.name == "my photos"
    assert source.split("test").targets == [1]


def test_open_source_with_a_class_that_train_lacks_names_it(tmp_path: Path):
    root = touch_files(tmp_path, "train/a/1.jpg", "train/b/1.jpg", "val/c/1.jpg")
    with pytest.raises(DataError, match=r"val has a class \(c\) that train lacks"):
        open_source(root)


def test_open_source_with_a_class_that_is_spelt_otherwise_names_the_nearest(tmp_path: Path):
    root = touch_files(tmp_path, "train/Hot Dog/1.jpg", "train/cat/1.jpg", "test/hot_dog/1.jpg", "test/cats/1.jpg")
    message = r"test has classes \(cats, hot_dog\) .* in every split. 'cats' may be 'cat', 'hot_dog' may be 'Hot Dog'\."
    with pytest.raises(DataError, match=message):
        open_source(root)


def test_open_source_with_empty_class_folders_says_so(tmp_path: Path):
    (tmp_path / "a").mkdir()
    with pytest.raises(DataError, match=r"has no images in its class folders \(a\); expected"):
        open_source(tmp_path)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("digit", "Did you mean digits"),
        ("MNIST", "For torchvision's dataset say `torchvision:mnist`"),
        ("nowhere/at/all", "Data can be a folder, a table"),
    ],
)
def test_open_source_of_an_unknown_name_says_what_it_could_be(in_folder: Path, spec: str, message: str):
    with pytest.raises(UsageError, match=message):
        open_source(spec)


def test_open_source_of_a_file_refuses(tmp_path: Path):
    (tmp_path / "cat.png").touch()
    with pytest.raises(
        UsageError, match=r"Data must be a folder of class folders, or a table .*, but .*cat\.png is a file"
    ):
        open_source(tmp_path / "cat.png")


def test_split_that_is_missing_suggests_the_nearest():
    with pytest.raises(UnknownNameError, match="No split of digits is named 'tests'. Did you mean test"):
        open_source("digits").split("tests")


def test_open_source_of_a_dataset_reads_images_lazily():
    images = torch.rand(4, 3, 8, 8)
    source = open_source(TensorDataset(images, torch.tensor([0, 1, 1, 2])))
    samples = source.split("train")
    assert source.class_names == ("0", "1", "2")
    assert samples.targets == [0, 1, 1, 2]
    assert samples.subset([2, 0]).open(0, 3).size == (8, 8)
    assert samples.subset([2, 0]).names() == ["image 2", "image 0"]


def test_open_source_of_arrays_takes_images_and_targets():
    source = open_source((np.zeros((3, 8, 8), np.uint8), [0, 1, 0]))
    assert source.class_names == ("0", "1")
    assert source.split("train").open(1, 1).mode == "L"


@pytest.mark.parametrize(
    ("images", "targets", "message"),
    [
        (np.zeros((3, 8, 8)), [0, 1], "There are 3 images but 2 targets"),
        (np.zeros((2, 8, 8)), [-1, 0], "Targets must be the numbers 0 to 0, but they run from -1 to 0"),
        (np.zeros((0, 8, 8)), [], "The dataset is empty"),
    ],
)
def test_open_source_of_arrays_that_do_not_fit_says_why(images: np.ndarray, targets: list[int], message: str):
    with pytest.raises(DataError, match=message):
        open_source((images, targets))


def test_open_source_of_something_else_names_its_type():
    with pytest.raises(UsageError, match="not int"):
        open_source(3)


def test_open_source_of_torchvision_data_that_is_missing_tells_how_to_get_it(tmp_path: Path):
    with pytest.raises(
        DataError, match=r"torchvision:mnist cannot be read from .* Fetch it with `tl data get mnist --data-root"
    ):
        open_source("torchvision:mnist", data_root=tmp_path)


def test_open_source_of_an_unknown_torchvision_dataset_suggests_the_nearest(tmp_path: Path):
    with pytest.raises(UnknownNameError, match="Did you mean cifar10 or cifar100"):
        open_source("torchvision:cifar", tmp_path)


def test_open_source_of_what_python_gave_says_to_give_it_again():
    with pytest.raises(UsageError, match="python:arrays stands for objects that Python gave"):
        open_source("python:arrays")


class Pairs(list):
    """A map-style dataset with attributes."""

    target_transform = None


def test_open_source_of_a_dataset_whose_targets_are_transformed_reads_the_items():
    dataset = Pairs([("a.png", 1), ("b.png", 0)])
    dataset.targets, dataset.target_transform = [0, 1], lambda target: 1 - target
    assert open_source(dataset).split("train").targets == [1, 0]


def test_open_source_of_a_dataset_whose_labels_are_names_reads_the_items():
    dataset = Pairs([("a.png", 1), ("b.png", 0)])
    dataset.labels = ["cat", "dog"]
    assert open_source(dataset).split("train").targets == [1, 0]


@pytest.mark.parametrize("dataset", [{"a": 1}, [("a.png", "cat")], ["a.png"]])
def test_open_source_of_something_that_gives_no_pairs_says_what_is_needed(dataset: object):
    with pytest.raises(DataError, match=r"must give \(image, target\) pairs"):
        open_source(dataset)


def test_open_source_of_two_datasets_says_what_a_pair_must_be():
    with pytest.raises(DataError, match=r"Data as a pair must be \(images, targets\)"):
        open_source((Pairs([("a.png", 1)]), Pairs([("b.png", 1)])))


@pytest.mark.parametrize("spec", ["~no-such-user/x", "x" * 300, "a\0b"])
def test_open_source_of_what_cannot_be_a_path_says_there_is_none(spec: str):
    with pytest.raises(UsageError, match="There is no folder"):
        open_source(spec)


def test_open_source_of_torchvisions_own_folder_says_how_to_name_it(tmp_path: Path):
    (tmp_path / "MNIST" / "raw").mkdir(parents=True)
    with pytest.raises(DataError, match=f'say data="torchvision:mnist" and data_root="{tmp_path}"'):
        open_source(tmp_path)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (
            np.zeros((4, 3, 8, 8), np.uint8),
            "The images are an array of shape (4, 3, 8, 8): its channels come first, those of an array last: "
            "np.moveaxis(array, -3, -1).",
        ),
        (
            torch.zeros(4, 8, 8, 3),
            "The images are a tensor of shape (4, 8, 8, 3): its channels come last, those of a tensor first: "
            "tensor.movedim(-1, -3).",
        ),
        (
            np.zeros((4, 64), np.uint8),
            "The images are an array of shape (4, 64): an image has 2 or 3 dimensions, not 1.",
        ),
        (
            np.full((4, 8, 8), 255.0),
            "The images cannot be read: floating-point pixels must lie in 0 to 1, not 255 to 255: divide them by 255.",
        ),
        (
            torch.full((4, 3, 8, 8), -1.0),
            "The images cannot be read: floating-point pixels must lie in 0 to 1, not -1 to -1: do not normalize "
            "them, tl does.",
        ),
        (
            np.zeros((4, 8, 8), np.int64),
            "The images cannot be read: pixels of type int64 have no defined range; from 0 to 255 they are uint8: "
            "array.astype(np.uint8).",
        ),
    ],
)
def test_open_source_of_arrays_that_are_no_images_says_how_they_become_some(images: object, message: str):
    with pytest.raises(DataError) as error:
        open_source((images, [0, 1, 0, 1]))
    assert str(error.value) == f"{message} {ARRAYS}"


@pytest.mark.parametrize(
    "images", [np.array(["a.png", "b.png"]), np.zeros((2, 8, 8), np.uint16), torch.zeros(2, 8, 8).bool()]
)
def test_open_source_of_other_arrays_takes_them(images: object):
    assert len(open_source((images, [0, 1])).split("train")) == 2
