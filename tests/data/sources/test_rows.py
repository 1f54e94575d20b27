import json
from typing import Any

import numpy as np
import pytest

from tl_toolkit.data.image_sets import FileImages
from tl_toolkit.data.sources.base import Source, SourceOptions
from tl_toolkit.data.sources.rows import RowPlaces, Rows, source_of_rows
from tl_toolkit.errors import DataError


def read(
    labels: list[Any], paths: list[str] | None = None, rows: dict[str, Any] | None = None, **options: Any
) -> Source:
    paths = paths or [f"{index}.png" for index in range(len(labels))]
    places = RowPlaces("line", range(2, len(labels) + 2))
    made = Rows("birds.csv", FileImages(paths), labels, places, keys=paths, **(rows or {}))
    return source_of_rows(made, SourceOptions(**options))


def message_of(*args: Any, **keywords: Any) -> str:
    with pytest.raises(DataError) as raised:
        read(*args, **keywords)
    return str(raised.value)


def test_read_rows_with_plain_labels_sorts_classes_and_gives_indices() -> None:
    source = read(["wren", "crow", "wren"])
    assert (source.task, source.class_names, source.notes) == ("multi-class", ("crow", "wren"), [])
    assert source.splits["train"].targets == [1, 0, 1]
    assert source.splits["train"].names() == ["0.png", "1.png", "2.png"]


def test_read_rows_with_integers_sorts_them_by_value() -> None:
    assert read(["10", "9", "-1", "10"]).class_names == ("-1", "9", "10")
    assert read([10, 9, "9"]).class_names == ("9", "10")
    assert read(["10", "9", "b"]).class_names == ("10", "9", "b")


def test_read_rows_with_spaces_around_labels_joins_them_and_tells() -> None:
    source = read([" cat", "cat", "dog "])
    assert source.class_names == ("cat", "dog")
    assert source.notes == ["2 labels of birds.csv with spaces around them, which do not count (line 2, line 4)."]


def test_read_rows_with_classes_that_differ_in_case_tells() -> None:
    assert read(["Cat", "cat", "dog"]).notes == [
        "Classes that differ in case only are learned as several: Cat and cat. If they are one, write them alike."
    ]


def test_read_rows_with_one_number_written_twice_tells() -> None:
    assert read(["3", "3.0", "dog"]).notes == [
        "Classes that are the same number are learned as several: 3 and 3.0. If they are one, write them alike."
    ]


@pytest.mark.parametrize("empty", ["", "  ", None, float("nan")])
def test_read_rows_with_empty_label_is_refused(empty: object) -> None:
    assert message_of(["cat", empty, "dog", empty]) == (
        "birds.csv has 2 rows without a label (line 3, line 5). Write one into each, or take them out. Several labels "
        'are a list in each cell, such as ["cat", "dog"] or [] where there is none.'
    )


def test_read_rows_of_nothing_is_refused() -> None:
    assert message_of([]) == "birds.csv has no rows: it needs one for each image."


MULTI_HOT = [[1, 0, 0], [1, 1, 0], [0, 0, 1], [0, 0, 0]]


@pytest.mark.parametrize(
    ("cells", "options"),
    [
        (['["cat"]', '["cat","dog"]', '["eel"]', "[]"], {}),
        ([["cat"], ["cat", "dog"], ["eel"], []], {}),
        (["['cat']", "['cat', 'dog']", "['eel', 'eel']", "[]"], {}),
        (["cat", "dog; cat", "eel;", ""], {"label_separator": ";"}),
        (["cat", "dog||cat", "eel", ""], {"label_separator": "||"}),
    ],
)
def test_read_rows_with_lists_of_labels_gives_a_row_of_zeros_and_ones(cells: list[Any], options: Any) -> None:
    source = read(cells, **options)
    targets = source.splits["train"].targets
    assert (source.task, source.class_names) == ("multi-label", ("cat", "dog", "eel"))
    assert isinstance(targets, np.ndarray)
    assert targets.dtype == np.float32
    assert targets.tolist() == MULTI_HOT
    assert source.notes == ["1 image of birds.csv without any label (line 5)."]


def test_read_rows_with_lists_and_plain_labels_is_refused() -> None:
    assert message_of(["cat", ["cat", "dog"], "", "eel"]) == (
        "Some labels of birds.csv are lists (line 3: ['cat', 'dog']), and 3 rows are not (line 2, line 4, line 5: "
        '\'cat\'). Several labels are a list in each cell, such as ["cat", "dog"] or [] for none; write all alike.'
    )


def test_read_rows_with_list_in_a_list_is_refused() -> None:
    assert message_of([json.dumps(["cat"]), json.dumps(["cat", None])]) == (
        "birds.csv lists None as a label in 1 row (line 3): labels are text or numbers."
    )


def test_read_rows_with_empty_lists_only_is_refused() -> None:
    assert message_of([[], []]) == "No row of birds.csv has a label: all lists are empty."


def test_read_rows_with_task_that_the_labels_contradict_is_refused() -> None:
    assert message_of([["cat"], ["cat", "dog"], []], task="multi-class") == (
        'task="multi-class" does not fit birds.csv: it has 2 rows with another number of labels than one (line 3, '
        "line 4; the first has 2)."
    )
    assert message_of(["cat"], task="soft") == (
        'task="soft" does not fit birds.csv: a label is a class, and shares of classes are numbers in a column each.'
    )
    assert message_of([["cat"]], task="soft") == (
        'task="soft" does not fit birds.csv: labels are lists of classes; shares are numbers in a column a class.'
    )


def test_read_rows_with_task_that_the_labels_allow_takes_it() -> None:
    assert read([["cat"], ["dog"]], task="multi-class").splits["train"].targets == [0, 1]
    assert np.asarray(read(["cat", "dog"], task="multi-label").splits["train"].targets).tolist() == [[1, 0], [0, 1]]


def test_read_rows_with_joined_labels_names_the_separator() -> None:
    told = (
        'birds.csv has classes that are made of others (cat;dog): label_separator=";" reads several labels in a cell.'
    )
    assert read(["cat", "dog", "cat;dog"]).notes == [told]
    assert message_of(["cat", "dog", "cat;dog"], task="multi-label") == told


def numbers(cells: list[list[Any]], **options: Any) -> Source:
    names = ("cat", "dog", "eel")[: len(cells[0])]
    return read(cells, rows={"class_names": names, "per_class": True}, **options)


@pytest.mark.parametrize(
    ("cells", "task"),
    [
        ([[0.2, 0.8], ["1", "0"], [0.333, 0.667]], "soft"),
        ([[1, 1], [0, 1]], "multi-label"),
        ([[0, 0], [0, 1]], "multi-label"),
    ],
)
def test_read_rows_with_a_number_a_class_tells_the_task(cells: list[list[Any]], task: str) -> None:
    source = numbers(cells)
    assert source.task == task
    assert source.class_names == ("cat", "dog")
    expected = np.array(cells, np.float32)
    assert np.asarray(source.splits["train"].targets) == pytest.approx(expected)


@pytest.mark.parametrize("cells", [[[0.2, 0.7], [0, 1]], [[1, 1], [0.2, 0.7]], [[0.2, 0.7], [0.5, 0.5]]])
def test_read_rows_with_numbers_that_are_no_labels_and_no_shares_is_refused(cells: list[list[Any]]) -> None:
    with pytest.raises(
        DataError, match=r"^1 row of birds\.csv \(line [23]\) cannot be read beside the others: several"
    ):
        numbers(cells)


def test_read_rows_with_single_ones_is_refused_until_the_task_is_said() -> None:
    cells = [[0, 1, 0], [1, 0, 0]]
    with pytest.raises(DataError) as raised:
        numbers(cells)
    assert str(raised.value) == (
        'Every row of birds.csv has a single 1 among its columns of labels (cat, dog, eel): say task="multi-class" '
        'if that is always so, or task="multi-label" if an image may have several labels or none.'
    )
    assert numbers(cells, task="multi-class").splits["train"].targets == [1, 0]
    assert np.asarray(numbers(cells, task="multi-label").splits["train"].targets).tolist() == cells
    assert numbers(cells, task="soft").task == "soft"


@pytest.mark.parametrize(
    ("cell", "shown"),
    [("x", "'x'"), ("", "nothing"), (2, "2"), (-0.1, "-0.1"), (float("nan"), "nothing"), (None, "nothing")],
)
def test_read_rows_with_no_share_in_a_column_of_a_class_is_refused(cell: object, shown: str) -> None:
    with pytest.raises(DataError) as raised:
        numbers([[0, 1], [cell, 0]])
    assert str(raised.value) == (
        f"line 3 of birds.csv has {shown} in the column cat: several columns of labels are numbers from 0 to 1, one "
        "for each class."
    )


def test_read_rows_with_numbers_that_contradict_the_task_is_refused() -> None:
    with pytest.raises(DataError, match="the numbers of 1 row do not sum to 1 \\(line 3\\)"):
        numbers([[0.5, 0.5], [0.5, 0.4]], task="soft")
    with pytest.raises(DataError, match="the numbers of 2 rows are not a single 1 beside 0 \\(line 2, line 3\\)"):
        numbers([[0.5, 0.5], [1, 1], [0, 1]], task="multi-class")


def test_read_rows_with_stated_classes_keeps_their_order() -> None:
    source = read(["dog", 2, "cat"], rows={"class_names": ("dog", "cat", "eel")})
    assert (source.class_names, source.splits["train"].targets) == (("dog", "cat", "eel"), [0, 2, 1])


def test_read_rows_with_label_that_is_not_stated_is_refused() -> None:
    assert message_of(["dog", "cta"], rows={"class_names": ("dog", "cat")}) == (
        "birds.csv has 1 row with the label 'cta' (line 3), which is none of its 2 classes (dog, cat). Did you "
        "mean cat?"
    )
    assert message_of([0, -1, 1], rows={"class_names": ("dog", "cat")}) == (
        "birds.csv has 1 row with the label -1 (line 3), which is none of its 2 classes (dog, cat). -1 often "
        "means that an image has no label; take such rows out."
    )


def test_read_rows_with_splits_divides_them() -> None:
    source = read(["cat", "dog", "cat", "dog"], rows={"splits": ["train", "Train", "validation", " test"]})
    assert {split: samples.names() for split, samples in source.splits.items()} == {
        "train": ["0.png", "1.png"],
        "val": ["2.png"],
        "test": ["3.png"],
    }
    assert source.splits["test"].targets == [1]


def test_read_rows_with_unknown_split_is_refused_with_the_nearest() -> None:
    assert message_of(["cat", "dog"], rows={"splits": ["train", "trian"]}) == (
        "line 3 of birds.csv has the split 'trian'. Did you mean train? Splits are train, val, valid, validation, "
        "test; split_column names another column."
    )
    assert "Did you mean val?" in message_of(["cat", "dog"], rows={"splits": ["train", "dev"]})


def test_read_rows_with_empty_split_is_refused() -> None:
    assert message_of(["cat", "dog"], rows={"splits": ["train", ""]}) == (
        "birds.csv has 1 row without a split (line 3). Write train, val or test into each, or leave out the column of "
        "splits."
    )


def test_read_rows_with_class_that_train_lacks_is_refused_with_the_nearest() -> None:
    assert message_of(["cat", "cta"], rows={"splits": ["train", "val"]}) == (
        "val has a class (cta) that train lacks: what no image of train has cannot be learned. 'cta' may be 'cat'."
    )


def test_read_rows_with_image_twice_and_one_label_keeps_one() -> None:
    source = read(["cat", "dog", "cat"], ["a.png", "b.png", "a.png"])
    assert source.splits["train"].names() == ["a.png", "b.png"]
    assert source.splits["train"].targets == [0, 1]
    assert source.notes == [
        "birds.csv has 1 row with an image and a label that an earlier row has too (line 2 and line 4): they "
        "count once."
    ]


def test_read_rows_with_image_twice_and_other_labels_is_refused() -> None:
    assert message_of(["cat", "dog"], ["a.png", "a.png"]) == (
        "'a.png' is in line 2 and in line 3 of birds.csv with different labels, cat and dog. If both are right, write "
        'them as a list in one cell: ["cat", "dog"], or cat;dog with label_separator=";".'
    )
    assert "different labels, cat and cat + dog" in message_of([["cat"], ["dog", "cat"]], ["a.png", "a.png"])


def test_read_rows_with_image_in_two_splits_is_refused() -> None:
    assert message_of(["cat", "cat"], ["a.png", "a.png"], rows={"splits": ["train", "test"]}) == (
        "'a.png' is in line 2 and in line 3 of birds.csv with different splits, train and test. Keep one row."
    )


def test_read_rows_with_groups_carries_them() -> None:
    source = read(["cat", "dog", "cat"], rows={"groups": ["p1", 2, "p1"], "splits": ["train", "train", "train"]})
    assert source.splits["train"].groups == ["p1", "2", "p1"]


def test_read_rows_with_group_in_two_splits_is_refused() -> None:
    groups = {"groups": ["p1", "p2", "p1", "p2"], "splits": ["train", "train", "val", "train"]}
    assert message_of(["cat", "dog", "cat", "dog"], rows=groups) == (
        "birds.csv has 1 group in several splits: p1 (line 2: train, line 4: val). Put all images of a group into "
        "one split, or leave out the column of splits for one by groups."
    )


def test_read_rows_with_empty_group_is_refused() -> None:
    assert message_of(["cat", "dog"], rows={"groups": ["p1", None]}) == (
        "birds.csv has 1 row without a group (line 3). Write one into each; an image that belongs to no other takes a "
        "name of its own."
    )


def test_read_rows_of_ten_thousand_classes_gives_them_all() -> None:
    source = read([f"class {index % 10_000}" for index in range(30_000)])
    assert len(source.class_names) == 10_000
    lists = read([[f"class {index}", f"class {index // 10}"] for index in range(10_000)])
    assert np.asarray(lists.splits["train"].targets).sum() == 19_999
    assert len(lists.class_names) == 10_000


def test_read_rows_with_more_targets_than_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tl_toolkit.data.sources.row_labels.MEMORY_SHARE", 1e-12)
    assert message_of([["cat"], ["dog"]]).startswith("The labels of birds.csv, 2 images by 2 classes, take 16 B; this ")
