"""Labels of Python objects: rows of numbers, or lists of names, in place of class indices."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tl_toolkit.config.choices import DataTask, Task
from tl_toolkit.data.targets import Rows, is_binary, rows_of
from tl_toolkit.errors import DataError, UsageError
from tl_toolkit.text import format_value, named

NAME_LISTS = (list, set, frozenset)


def label_rows(targets: Any, task: DataTask, classes: Any) -> tuple[Rows, tuple[str, ...], Task] | None:
    """Return targets as rows of numbers (N, classes), with class names and task.

    Args:
        targets: An array or tensor (N, classes), as many lists of numbers or vectors, or lists of names.
        task: What the user says of them; "auto" to tell by the numbers.
        classes: Names of the columns; None to number them.

    Returns:
        None if the targets are something else, such as class indices.

    Raises:
        DataError: The rows are of different lengths, or not of the task.
        UsageError: Nothing tells what rows with a single 1 each mean.
    """
    if _are_names(targets):
        return _rows_of_names(targets, task, classes)
    numbers = _numbers(targets)
    if numbers is None:
        return None
    columns = numbers.shape[1]
    names = tuple(map(str, range(columns))) if classes is None else tuple(map(str, classes))
    if len(names) != columns:
        raise DataError(f"The targets have {columns} columns, but there are {len(names)} class names.")
    found = _task_of(numbers, task)
    return rows_of(numbers, found), names, found


def one_hot_classes(rows: Rows) -> list[int]:
    """Return the class index of rows with a single 1 each.

    Raises:
        DataError: A row has none, or several.
    """
    if not is_binary(rows) or (rows.sum(axis=1) != 1).any():
        raise DataError(
            f"With {named('task', 'multi-class')} each image has one class, but a row of the targets has more than "
            "one, none, or other numbers than 0 and 1."
        )
    classes: list[int] = rows.argmax(axis=1).tolist()
    return classes


def _are_names(targets: Any) -> bool:
    """Return whether the targets are lists of names, of which some may be empty."""
    if not isinstance(targets, Sequence) or not targets or not all(isinstance(each, NAME_LISTS) for each in targets):
        return False
    return any(isinstance(name, str) for names in targets for name in names)


def _rows_of_names(
    targets: Sequence[Iterable[Any]], task: DataTask, classes: Any
) -> tuple[Rows, tuple[str, ...], Task]:
    lists = [list(names) for names in targets]
    if wrong := [name for names in lists for name in names if not isinstance(name, str)]:
        raise DataError(f"Lists of labels hold names, but one holds {format_value(wrong[0])}.")
    if task not in ("auto", "multi-label"):
        raise UsageError(f"Lists of names are several labels an image, not {named('task', task)}: leave it out.")
    names = (
        tuple(map(str, classes)) if classes is not None else tuple(sorted({name for each in lists for name in each}))
    )
    places = {name: index for index, name in enumerate(names)}
    rows = np.zeros((len(lists), len(names)), np.float32)
    for row, labels in zip(rows, lists, strict=True):
        if unknown := [name for name in labels if name not in places]:
            raise DataError(f"An image has the label {format_value(unknown[0])}, which is not one of the class names.")
        row[[places[name] for name in labels]] = 1
    return rows, names, "multi-label"


def _numbers(targets: Any) -> NDArray[np.generic] | None:
    """Return the targets as an array (N, classes); None if they are one number each, or no numbers."""
    if isinstance(targets, torch.Tensor):
        targets = targets.detach().cpu()
        targets = targets.float().numpy() if targets.dtype == torch.bfloat16 else targets.numpy()
    if not isinstance(targets, np.ndarray):
        if not isinstance(targets, Sequence) or not len(targets) or not _is_vector(targets[0]):
            return None
        lengths = {len(each) if _is_vector(each) else 0 for each in targets}
        if len(lengths) > 1:
            low, high = min(lengths), max(lengths)
            raise DataError(
                f"The targets of some images are {low} numbers, of others {high}: each needs one for every class. "
                "Class indices of several labels must be made a row of 0 and 1."
            )
        try:
            targets = np.stack([np.asarray(each) for each in targets])
        except (ValueError, TypeError):
            return None
    return targets if targets.ndim == 2 and targets.shape[1] > 1 and targets.dtype.kind in "biuf" else None


def _is_vector(value: Any) -> bool:
    return isinstance(value, list) or (isinstance(value, np.ndarray | torch.Tensor) and value.ndim == 1)


def _task_of(numbers: NDArray[Any], task: DataTask) -> Task:
    """Return what rows of numbers are; numbers of no task are refused as those of the nearest one."""
    if task != "auto":
        return task
    if not ((numbers == 0) | (numbers == 1)).all():
        return "soft"
    if len(numbers) and (numbers.sum(axis=1) == 1).all():
        raise UsageError(
            "Each row of the targets has a single 1, which is one class or one of several labels: say "
            f"{named('task', 'multi-class')} or {named('task', 'multi-label')}."
        )
    return "multi-label"
