"""Targets: a class index for each image, or a row of numbers, one for each class.

A run of multi-class data has a sequence of int; of multi-label data an array of 0 and 1, of soft data one of shares,
both float32 (N, classes). The functions here are all that the rest of `data` does with targets.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeGuard

import numpy as np
from numpy.typing import NDArray

from tl_toolkit.config.choices import Task
from tl_toolkit.text import join_names

Rows = NDArray[np.float32]
Targets = Sequence[int] | Rows
Target = int | tuple[tuple[int, float], ...]
"""What an image has: its class, or the classes of its row that are not 0, with their numbers."""

SUM_TOLERANCE = 1e-3
"""Shares that a spreadsheet rounded to three or four digits need not sum to 1 exactly."""


def are_rows(targets: Targets) -> TypeGuard[Rows]:
    """Return whether the targets are rows of numbers, not class indices."""
    return isinstance(targets, np.ndarray)


def class_indices(targets: Targets) -> Sequence[int]:
    """Return the targets of multi-class data, which are class indices."""
    assert not are_rows(targets)  # What needs them is refused for other tasks.
    return targets  # type: ignore[return-value]  # mypy narrows in one direction only


def take(targets: Targets, indices: Sequence[int]) -> Targets:
    """Return the targets at `indices`, in that order."""
    if are_rows(targets):
        return targets[np.asarray(indices, np.int64)]
    return [targets[index] for index in indices]


def join(one: Targets, other: Targets) -> Targets:
    """Return the targets of one sequence, then those of another of the same kind."""
    if are_rows(one) and are_rows(other):
        return np.concatenate([one, other])
    return [*one, *other]


def target_of(targets: Targets, index: int) -> Target:
    """Return the target of an image, to compare with others."""
    if not are_rows(targets):
        return targets[index]
    row = targets[index]
    return tuple((int(place), float(row[place])) for place in np.flatnonzero(row))


def name_target(target: Target, class_names: Sequence[str]) -> str:
    """Return a target in words: a class, "cat + dog", "cat 0.75 + dog 0.25" or "no label"."""
    if isinstance(target, int):
        return class_names[target]
    return (
        " + ".join(class_names[index] + ("" if value == 1.0 else f" {value:.2f}") for index, value in target)
        or "no label"
    )


def strata(targets: Targets) -> Sequence[int] | NDArray[np.bool_]:
    """Return what a split is stratified by: the class, the class with the largest share, or the labels (N, classes)."""
    if not are_rows(targets):
        return class_indices(targets)
    if is_binary(targets):
        return targets > 0
    largest: list[int] = targets.argmax(axis=1).tolist()
    return largest


def is_binary(rows: Rows) -> bool:
    """Return whether all numbers are 0 or 1."""
    return bool(((rows == 0) | (rows == 1)).all())


def count_classes(targets: Targets, classes: int) -> tuple[int, ...]:
    """Return the number of images of each class; of shares, those in which the class has some."""
    if are_rows(targets):
        return tuple(np.count_nonzero(targets, axis=0).tolist())
    counts = Counter(targets)
    return tuple(counts[index] for index in range(classes))


def classes_in(targets: Targets) -> set[int]:
    """Return the classes that any image has."""
    if are_rows(targets):
        return set(np.flatnonzero(targets.any(axis=0)).tolist())
    return set(targets)


def target_bytes(targets: Targets) -> Iterator[bytes]:
    """Yield bytes for each target that differ where targets do, for a digest."""
    if are_rows(targets):
        yield from (row.tobytes() for row in np.ascontiguousarray(targets))
    else:
        yield from (str(target).encode() for target in targets)


def remap(targets: Targets, places: Mapping[int, int], classes: int) -> Targets:
    """Return targets in the order of other class names.

    Args:
        targets: Targets whose classes are all in `places`.
        places: New index of each class that occurs.
        classes: The new number of classes; those that the data does not have are 0 in a row.
    """
    if not are_rows(targets):
        return [places[target] for target in targets]
    rows = np.zeros((len(targets), classes), np.float32)
    for old, new in places.items():
        rows[:, new] = targets[:, old]
    return rows


def problem_with(targets: Targets, task: Task, class_names: Sequence[str]) -> str:
    """Return why targets cannot be those of a task, in a sentence with the first image that shows it; else empty."""
    if not are_rows(targets):
        return "" if task == "multi-class" else f"The targets of {task} data are a row of numbers for each image."
    if task == "multi-class":
        return "The targets of multi-class data are a class index for each image, not a row of numbers."
    if targets.ndim != 2 or targets.shape[1] != len(class_names):
        return f"The targets have the shape {targets.shape}, but there are {len(class_names)} classes."
    if bad := _first(~np.isfinite(targets), targets, class_names):
        return f"{bad}: a label needs a number."
    if bad := _first((targets < 0) | (targets > 1), targets, class_names):
        return f"{bad}: labels are numbers from 0 to 1."
    if task == "multi-label":
        if bad := _first((targets != 0) & (targets != 1), targets, class_names):
            return f"{bad}: with several labels an image each is 0 or 1. Shares that sum to 1 are the task soft."
        return ""
    off = np.flatnonzero(np.abs(targets.sum(axis=1, dtype=np.float64) - 1) > SUM_TOLERANCE)
    if len(off):
        total = float(targets[off[0]].sum())
        return (
            f"The shares of image {off[0]} sum to {total:g}: soft labels sum to 1. Labels that do not exclude each "
            "other, 0 or 1 each, are the task multi-label."
        )
    return ""


def _first(wrong: NDArray[np.bool_], rows: Rows, class_names: Sequence[str]) -> str:
    """Return the first wrong number in words; empty if none is wrong."""
    found = np.argwhere(wrong)
    if not len(found):
        return ""
    image, place = found[0]
    return f"Image {image} has {rows[image, place]:g} for {join_names([class_names[place]])}"


def rows_of(numbers: NDArray[np.generic], task: Task) -> Rows:
    """Return numbers (N, classes) as float32; shares are divided by their sum, which rounding had moved from 1."""
    rows = np.ascontiguousarray(numbers, np.float32)
    if task == "soft" and np.isfinite(rows).all():
        sums = rows.sum(axis=1, keepdims=True, dtype=np.float64)
        near = np.abs(sums - 1) <= SUM_TOLERANCE
        rows = np.where(near, rows / np.where(near, sums, 1), rows).astype(np.float32)
    return rows
