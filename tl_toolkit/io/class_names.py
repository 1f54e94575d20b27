"""Class names in a file: a name on each line, or JSON."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

from tl_toolkit.errors import UsageError
from tl_toolkit.text import format_value, join_names, plural

HOW = (
    "give a text file with one name on each line, in the order of the outputs, or JSON: a list of names, or an object "
    'such as {"cat": 0, "dog": 1}'
)


def read_class_names(path: Path) -> tuple[str, ...]:
    """Read class names in the order of a network's outputs.

    Args:
        path: Text with a name on each line; or, ending in .json, a list of names, or an object with an index for each
            name (torchvision's `class_to_idx`) or a name for each index.

    Raises:
        UsageError: The file cannot be read, an entry has no name, or names repeat.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UsageError(f"Cannot read the class names in {path}: {error.strerror}.") from error
    except ValueError as error:
        raise UsageError(f"{path} is no UTF-8 text: {HOW}.") from error
    names = _of_json(text, path) if path.suffix.lower() == ".json" else _of_lines(text)
    check_class_names(names, str(path))
    return names


def check_class_names(names: tuple[str, ...], origin: str) -> None:
    """Refuse names that are empty, too few or not all different.

    Args:
        names: In the order of the outputs.
        origin: Where they are from, for messages.

    Raises:
        UsageError: They are.
    """
    empty = [str(place) for place, name in enumerate(names, 1) if not name.strip()]
    if empty:
        raise UsageError(f"{origin} has no name in place {join_names(empty)} of {len(names):,}: {HOW}.")
    if len(names) < 2:
        raise UsageError(f"{origin} has {plural(len(names), 'class name')}, but a classifier has two or more: {HOW}.")
    repeated = [f"{name!r} ({count} times)" for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise UsageError(
            f"{origin} has names that repeat: {join_names(repeated)}. Make them different, such as by a number: "
            "predictions are told apart by them."
        )


def _of_lines(text: str) -> tuple[str, ...]:
    lines = [line.strip() for line in text.split("\n")]
    while lines and not lines[-1]:
        lines.pop()
    return tuple(lines)


def _of_json(text: str, path: Path) -> tuple[str, ...]:
    try:
        values: Any = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is no JSON ({error}): {HOW}.") from error
    if isinstance(values, dict):
        by_index = {int(key): value for key, value in values.items() if key.isdecimal() and isinstance(value, str)}
        if len(by_index) != len(values):
            by_index = {value: key for key, value in values.items() if type(value) is int}
        if len(by_index) != len(values) or sorted(by_index) != list(range(len(values))):
            raise UsageError(f"{path} does not name the outputs 0 to {len(values) - 1:,} once each: {HOW}.")
        values = [by_index[index] for index in range(len(values))]
    if not isinstance(values, list) or not all(isinstance(name, str) for name in values):
        raise UsageError(f"{path} holds {format_value(values)}: {HOW}.")
    return tuple(values)
