"""Labels of Python objects: arrays, lists of names, datasets whose targets are vectors."""

from typing import Any

import numpy as np
import pytest
import torch

from tl_toolkit.data.sources.base import Source, open_source
from tl_toolkit.errors import DataError, ToolkitError, UsageError

IMAGES = np.zeros((3, 8, 8), np.uint8)
ROWS = [[1, 0, 1], [0, 0, 0], [0, 1, 0]]


class Dataset:
    """A dataset whose items have vectors."""

    def __init__(self, targets: Any, classes: list[str] | None = None) -> None:
        self.vectors = targets
        if classes:
            self.classes = classes

    def __len__(self) -> int:
        return len(self.vectors)

    def __getitem__(self, index: int) -> tuple[np.ndarray, Any]:
        return IMAGES[index], self.vectors[index]


def check(source: Source, class_names: tuple[str, ...], rows: Any = ROWS, task: str = "multi-label") -> None:
    targets = source.splits["train"].targets
    assert (source.task, source.class_names) == (task, class_names)
    assert isinstance(targets, np.ndarray)
    assert targets.dtype == np.float32
    assert targets.tolist() == rows


@pytest.mark.parametrize("kind", [np.array, torch.tensor, list, lambda rows: np.array(rows, bool), np.float64])
def test_open_source_of_rows_of_zero_and_one_has_several_labels(kind: Any):
    check(open_source((IMAGES, kind(ROWS))), ("0", "1", "2"))


def test_open_source_of_lists_of_names_has_several_labels():
    check(open_source((IMAGES, [["cat", "owl"], [], ["dog"]])), ("cat", "dog", "owl"))
    check(open_source((IMAGES, [{"cat", "owl"}, set(), {"dog"}])), ("cat", "dog", "owl"))


def test_open_source_of_shares_is_soft():
    shares = [[0.5, 0.5, 0.0], [0.0, 0.0, 1.0], [0.25, 0.25, 0.5]]
    check(open_source((IMAGES, np.array(shares))), ("0", "1", "2"), shares, "soft")


def test_open_source_of_one_hot_rows_asks_what_they_mean():
    one_hot = np.eye(3)
    with pytest.raises(UsageError) as raised:
        open_source((IMAGES, one_hot))
    assert str(raised.value) == (
        "Each row of the targets has a single 1, which is one class or one of several labels: say "
        'task="multi-class" or task="multi-label".'
    )
    check(open_source((IMAGES, one_hot), task="multi-label"), ("0", "1", "2"), one_hot.tolist())
    check(open_source((IMAGES, one_hot), task="soft"), ("0", "1", "2"), one_hot.tolist(), "soft")
    assert open_source((IMAGES, one_hot), task="multi-class").splits["train"].targets == [0, 1, 2]


def test_open_source_of_a_dataset_of_vectors_has_several_labels():
    for vectors in (np.array(ROWS), torch.tensor(ROWS), [torch.tensor(row) for row in ROWS], ROWS):
        check(open_source(Dataset(vectors, ["cat", "dog", "owl"])), ("cat", "dog", "owl"))
    check(open_source(Dataset([["cat", "owl"], [], ["dog"]])), ("cat", "dog", "owl"))


class Unread(Dataset):
    """A dataset with its vectors in a list, and images that cannot be read."""

    def __init__(self, targets: Any) -> None:
        super().__init__(targets)
        self.targets = targets

    def __getitem__(self, index: int) -> tuple[np.ndarray, Any]:
        return pytest.fail(f"image {index} is read")


def test_open_source_of_a_dataset_with_a_list_of_vectors_reads_no_image():
    check(open_source(Unread(torch.tensor(ROWS))), ("0", "1", "2"))


@pytest.mark.parametrize(
    ("targets", "task", "message"),
    [
        ([[0, 1], [1, 0, 1], [0, 0]], "auto", "The targets of some images are 2 numbers, of others 3: each needs one "
         "for every class. Class indices of several labels must be made a row of 0 and 1."),
        (np.array([[0, 1, 1], [1, 0, 1], [0, np.nan, 0]]), "multi-label",
         "train of arrays: Image 2 has nan for 1: a label needs a number."),
        (np.array([[0, 1], [1, 1], [0, -2]]), "auto", "train of arrays: Image 2 has -2 for 1: labels are numbers from "
         "0 to 1."),
        (np.array([[0, 3], [1, 1], [0, 1]]), "auto", "train of arrays: Image 0 has 3 for 1: labels are numbers from 0 "
         "to 1."),
        ([["cat"], [3], []], "auto", "Lists of labels hold names, but one holds 3."),
        ([["cat"], ["dog"], []], "soft", 'Lists of names are several labels an image, not task="soft": leave it '
         "out."),
        (np.array(ROWS), "multi-class", 'With task="multi-class" each image has one class, but a row of the targets '
         "has more than one, none, or other numbers than 0 and 1."),
        ([0, 1, 2], "multi-label", "arrays is multi-class data, not multi-label: each image has one class. Several "
         "labels an image are written in a table, such as labels.csv with the columns path and label."),
    ],
)  # fmt: skip
def test_open_source_of_wrong_labels_says_what_is_wrong(targets: Any, task: str, message: str):
    with pytest.raises(ToolkitError) as raised:
        open_source((IMAGES, targets), task=task)
    assert str(raised.value) == message


def test_open_source_of_a_folder_with_several_labels_says_to_write_a_table(photos: Any):
    with pytest.raises(DataError, match="Several labels an image are written in a table, such as labels.csv"):
        open_source(photos, task="multi-label")
