import numpy as np
import pytest

from tl_toolkit.data import targets as kinds

ROWS = np.array([[1, 0, 1], [0, 0, 0], [0, 1, 0]], np.float32)
SHARES = np.array([[0.5, 0.25, 0.25], [0.0, 1.0, 0.0]], np.float32)
CLASSES = ["cat", "dog", "owl"]


def test_targets_of_both_kinds_are_taken_and_joined():
    assert kinds.take([3, 4, 5], [2, 0]) == [5, 3]
    assert kinds.take(ROWS, [2, 0]).tolist() == [[0, 1, 0], [1, 0, 1]]
    assert kinds.take(ROWS, []).shape == (0, 3)
    assert kinds.join([1], [2, 3]) == [1, 2, 3]
    assert kinds.join(ROWS[:1], ROWS[1:]).tolist() == ROWS.tolist()


def test_target_is_named_by_its_classes():
    assert kinds.name_target(kinds.target_of([2, 0], 0), CLASSES) == "owl"
    assert kinds.name_target(kinds.target_of(ROWS, 0), CLASSES) == "cat + owl"
    assert kinds.name_target(kinds.target_of(ROWS, 1), CLASSES) == "no label"
    assert kinds.name_target(kinds.target_of(SHARES, 0), CLASSES) == "cat 0.50 + dog 0.25 + owl 0.25"


def test_classes_are_counted_by_images():
    assert kinds.count_classes([0, 2, 2], 3) == (1, 0, 2)
    assert kinds.count_classes(ROWS, 3) == (1, 1, 1)
    assert kinds.classes_in([0, 2, 2]) == {0, 2}
    assert kinds.classes_in(ROWS[:2]) == {0, 2}


def test_bytes_of_targets_differ_where_they_do():
    assert list(kinds.target_bytes([7, 12])) == [b"7", b"12"]
    assert len(set(kinds.target_bytes(ROWS))) == 3
    assert len(set(kinds.target_bytes(np.asfortranarray(ROWS)))) == 3


def test_strata_are_classes_labels_or_the_largest_share():
    assert kinds.strata([1, 0]) == [1, 0]
    labels = kinds.strata(ROWS)
    assert isinstance(labels, np.ndarray)
    assert labels.dtype == np.bool_
    assert kinds.strata(SHARES) == [0, 1]


def test_targets_in_another_order_of_classes_follow_it():
    assert kinds.remap([1, 0], {0: 5, 1: 2}, 6) == [2, 5]
    assert kinds.remap(ROWS, {0: 2, 1: 0, 2: 1}, 4).tolist() == [[0, 1, 1, 0], [0, 0, 0, 0], [1, 0, 0, 0]]


@pytest.mark.parametrize(
    ("rows", "task", "message"),
    [
        ([[0, np.nan, 1]], "multi-label", "Image 0 has nan for dog: a label needs a number."),
        ([[0, 1, 0], [0, 0, -1]], "multi-label", "Image 1 has -1 for owl: labels are numbers from 0 to 1."),
        ([[0, 2, 0]], "soft", "Image 0 has 2 for dog: labels are numbers from 0 to 1."),
        (
            [[0.5, 0.25, 1]],
            "multi-label",
            "Image 0 has 0.5 for cat: with several labels an image each is 0 or 1. Shares that sum to 1 are the task "
            "soft.",
        ),
        (
            [[0.5, 0.25, 0.5]],
            "soft",
            "The shares of image 0 sum to 1.25: soft labels sum to 1. Labels that do not exclude each other, 0 or 1 "
            "each, are the task multi-label.",
        ),
        ([[0, 1]], "multi-label", "The targets have the shape (1, 2), but there are 3 classes."),
        (
            [[0, 1, 0]],
            "multi-class",
            "The targets of multi-class data are a class index for each image, not a row of numbers.",
        ),
    ],
)
def test_rows_of_no_task_are_told(rows: list[list[float]], task: str, message: str):
    assert kinds.problem_with(np.array(rows, np.float32), task, CLASSES) == message  # type: ignore[arg-type]


def test_targets_of_their_task_have_no_problem():
    assert not kinds.problem_with([0, 1], "multi-class", CLASSES)
    assert not kinds.problem_with(ROWS, "multi-label", CLASSES)
    assert not kinds.problem_with(SHARES, "soft", CLASSES)
    expected = "The targets of soft data are a row of numbers for each image."
    assert kinds.problem_with([0, 1], "soft", CLASSES) == expected


def test_shares_rounded_in_a_table_sum_to_one():
    rows = kinds.rows_of(np.array([[0.333, 0.333, 0.333]]), "soft")
    assert rows.dtype == np.float32
    assert rows.sum() == pytest.approx(1, abs=1e-6)
    assert kinds.rows_of(np.array([[0.3, 0.3, 0.3]]), "soft").sum() == pytest.approx(0.9)
