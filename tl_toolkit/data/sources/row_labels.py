"""Labels of rows: which task they state, their classes, and a target for each row."""

import ast
import json
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil

from tl_toolkit.config.choices import Task
from tl_toolkit.data.sources.base import SourceOptions
from tl_toolkit.data.sources.folder import nearest_class, note_case
from tl_toolkit.data.targets import SUM_TOLERANCE, Targets, rows_of
from tl_toolkit.errors import DataError
from tl_toolkit.io.files import format_size
from tl_toolkit.text import format_value, join_names, named, plural

if TYPE_CHECKING:
    from tl_toolkit.data.sources.rows import Rows

SEPARATORS = (";", "|", ",")
"""What may separate several labels in a cell, if the parts are classes too."""

MEMORY_SHARE = 0.5
"""Share of the memory of the machine that targets may take."""

HOW_TO_LIST = 'Several labels are a list in each cell, such as ["cat", "dog"] or []'


@dataclass(frozen=True)
class Labels:
    """The labels of rows.

    Attributes:
        task: See `Source`.
        class_names: In the order of the targets.
        targets: A target for each row.
        notes: What a user should know about how they were read.
        stated: Whether the format states the classes.
    """

    task: Task
    class_names: tuple[str, ...]
    targets: Targets
    notes: list[str] = field(default_factory=list)
    stated: bool = False


def is_empty(cell: object) -> bool:
    """Return whether a cell has nothing in it: None, NaN, or white space."""
    return cell is None or cell != cell or (isinstance(cell, str) and not cell.strip())


def read_labels(rows: "Rows", options: SourceOptions) -> Labels:
    """Tell the task by the labels, and return classes and targets.

    Raises:
        DataError: Labels are missing, mixed, or contradict the task of the options.
    """
    if rows.per_class:
        return _numbers(rows, options)
    labels = rows.labels
    if list in set(map(type, labels)):
        labels = [tuple(cell) if isinstance(cell, list) else cell for cell in labels]
    index_of = {cell: index for index, cell in enumerate(dict.fromkeys(labels))}
    codes = [index_of[cell] for cell in labels]
    cells = [_parse(cell, options.label_separator) for cell in index_of]
    lists = [isinstance(cell, tuple) for cell in cells]
    reader = _Cells(rows, options, codes, cells)
    if not any(lists):
        return reader.classes()
    if not all(lists):
        reader.refuse_mixed()
    return reader.lists()


def _parse(cell: Any, separator: str | None) -> Any:
    """Return the labels of a cell as a tuple if it lists them, else the cell."""
    if not isinstance(cell, str):
        return cell
    if separator:
        return tuple(part for part in cell.split(separator) if part.strip())
    text = cell.strip()
    if text[:1] == "[" and text[-1:] == "]":
        for parse in (json.loads, ast.literal_eval):  # The latter reads Python's own lists, as pandas writes them.
            try:
                found = parse(text)
            except (ValueError, SyntaxError, RecursionError, MemoryError):
                continue
            if isinstance(found, list):
                return tuple(found)
    return cell


class _Cells:
    """Cells with one class or a list of classes.

    Args:
        rows: The rows.
        options: How to read them.
        codes: For each row, the place of its cell among `cells`.
        cells: The different cells, parsed.
    """

    def __init__(self, rows: "Rows", options: SourceOptions, codes: Sequence[int], cells: Sequence[Any]) -> None:
        self.rows, self.options, self.codes, self.cells = rows, options, codes, cells
        self.notes: list[str] = []

    def classes(self) -> Labels:
        """Return labels of which each is one class."""
        rows, task = self.rows, self.options.task
        if empty := self._where(is_empty):
            raise DataError(
                f"{rows.name} has {plural(len(empty), 'row')} without a label ({self._places(empty)}). Write one into "
                f"each, or take {'it' if len(empty) == 1 else 'them'} out. {HOW_TO_LIST} where there is none."
            )
        if task == "soft":
            raise self._contradiction("soft", "a label is a class, and shares of classes are numbers in a column each")
        names, indices = self._name(self.cells)
        self._look_for_separators(names)
        if task == "multi-label":
            return self._multi_label(names, [[index] for index in indices])
        targets = [indices[code] for code in self.codes]
        return Labels("multi-class", names, targets, self.notes, rows.class_names is not None)

    def lists(self) -> Labels:
        """Return labels of which each is a list of classes."""
        if self.options.task == "soft":
            raise self._contradiction("soft", "labels are lists of classes; shares are numbers in a column a class")
        values = dict.fromkeys(chain.from_iterable(self.cells))
        if wrong := [value for value in values if is_empty(value) or not isinstance(value, str | int | float)]:
            bad = set(wrong)
            where = self._where(lambda cell: not bad.isdisjoint(cell))
            raise DataError(
                f"{self.rows.name} lists {format_value(wrong[0])} as a label in {plural(len(where), 'row')} "
                f"({self._places(where)}): labels are text or numbers."
            )
        if not values:
            raise DataError(f"No row of {self.rows.name} has a label: all lists are empty.")
        names, flat = self._name(list(values))
        index_of = dict(zip(values, flat, strict=True))
        indices = [sorted({index_of[value] for value in cell}) for cell in self.cells]
        if self.options.task != "multi-class":
            if empty := self._where(lambda cell: not cell):
                count = plural(len(empty), "image")
                self.notes.append(f"{count} of {self.rows.name} without any label ({self._places(empty)}).")
            return self._multi_label(names, indices)
        if other := [at for at, code in enumerate(self.codes) if len(indices[code]) != 1]:
            first = len(indices[self.codes[other[0]]])
            raise self._contradiction(
                "multi-class",
                f"it has {plural(len(other), 'row')} with another number of labels than one ({self._places(other)}; "
                f"the first has {first})",
            )
        targets = [indices[code][0] for code in self.codes]
        return Labels("multi-class", names, targets, self.notes, self.rows.class_names is not None)

    def refuse_mixed(self) -> None:
        """Refuse lists of labels beside cells that are none."""
        as_list = self._where(lambda cell: isinstance(cell, tuple))[0]
        others = self._where(lambda cell: not isinstance(cell, tuple))
        what = format_value(self.rows.labels[others[0]])
        raise DataError(
            f"Some labels of {self.rows.name} are lists ({self.rows.places[as_list]}: "
            f"{format_value(self.rows.labels[as_list])}), and {plural(len(others), 'row')} are not "
            f"({self._places(others)}: {what}). {HOW_TO_LIST} for none; write all alike."
        )

    def _name(self, values: Sequence[Any]) -> tuple[tuple[str, ...], list[int]]:
        """Return the class names in order, and the class of each value."""
        stated = self.rows.class_names
        if stated is not None:
            return stated, self._find_stated(values, stated)
        texts = [_text(value) for value in values]
        spaced = {value for value, text in zip(values, texts, strict=True) if isinstance(value, str) and value != text}
        if spaced:
            where = self._where(
                lambda cell: cell in spaced or (isinstance(cell, tuple) and not spaced.isdisjoint(cell))
            )
            if self.options.label_separator is None:  # A space after a separator is common, and no news.
                self.notes.append(
                    f"{plural(len(where), 'label')} of {self.rows.name} with spaces around them, which do not count "
                    f"({self._places(where)})."
                )
        names = sort_classes(set(texts))
        self.notes += note_case(names, "write them alike")
        self.notes += _note_numbers(names)
        index_of = {name: index for index, name in enumerate(names)}
        return tuple(names), [index_of[text] for text in texts]

    def _find_stated(self, values: Sequence[Any], stated: tuple[str, ...]) -> list[int]:
        """Return the place of each value among the classes that the format states."""
        index_of = {name: index for index, name in enumerate(stated)}
        found = []
        for value in values:
            index = value if isinstance(value, int) and 0 <= value < len(stated) else index_of.get(_text(value))
            if index is None:
                where = self._where(partial(_has, value))
                near = "" if isinstance(value, int) else nearest_class(_text(value), stated)
                unlabelled = " -1 often means that an image has no label; take such rows out." if value == -1 else ""
                raise DataError(
                    f"{self.rows.name} has {plural(len(where), 'row')} with the label {format_value(value)} "
                    f"({self._places(where)}), which is none of its {len(stated)} classes ({join_names(stated)})."
                    f"{f' Did you mean {near}?' if near else ''}{unlabelled}"
                )
            found.append(index)
        return found

    def _multi_label(self, names: tuple[str, ...], indices: Sequence[Sequence[int]]) -> Labels:
        """Return targets that are 1 at some indices; `indices` has a list for each of the cells."""
        targets = empty_targets(len(self.codes), len(names), self.rows.name)
        counts = np.fromiter(map(len, indices), np.int64, len(indices))[np.asarray(self.codes)]
        columns = np.fromiter(chain.from_iterable(indices[code] for code in self.codes), np.int64, int(counts.sum()))
        targets[np.repeat(np.arange(len(self.codes)), counts), columns] = 1
        return Labels("multi-label", names, targets, self.notes, self.rows.class_names is not None)

    def _look_for_separators(self, names: Sequence[str]) -> None:
        """Tell of classes that are lists of others, as far as their text shows."""
        known = set(names)
        for separator in SEPARATORS:
            joined = [name for name in names if separator in name]
            if such := [n for n in joined if all(part.strip() in known for part in n.split(separator))]:
                what = f"{self.rows.name} has classes that are made of others ({join_names(such)})"
                remedy = f"{named('label_separator', separator)} reads several labels in a cell"
                if self.options.task == "multi-label":
                    raise DataError(f"{what}: {remedy}.")
                self.notes.append(f"{what}: {remedy}.")

    def _contradiction(self, task: str, what: str) -> DataError:
        return DataError(f"{named('task', task)} does not fit {self.rows.name}: {what}.")

    def _where(self, is_such: Callable[[Any], object]) -> list[int]:
        """Return the rows whose cells are such."""
        such = [bool(is_such(cell)) for cell in self.cells]
        return [at for at, code in enumerate(self.codes) if such[code]] if any(such) else []

    def _places(self, indices: Sequence[int]) -> str:
        return places_of(self.rows.places, indices)


def _numbers(rows: "Rows", options: SourceOptions) -> Labels:
    """Return labels that are a number for each class."""
    assert rows.class_names is not None  # They are the names of the columns.
    targets = _number_array(rows)
    sums = targets.sum(axis=1, dtype=np.float64)
    shares = np.abs(sums - 1) <= SUM_TOLERANCE
    decided = ((targets == 0) | (targets == 1)).all(axis=1)
    task = _task_of_numbers(rows, decided, shares, sums) if options.task == "auto" else options.task
    fitting, what = {
        "multi-class": ((sums == 1) & decided, "are not a single 1 beside 0"),
        "soft": (shares, "do not sum to 1"),
        "multi-label": (decided, "are not all 0 or 1"),
    }[task]
    if wrong := np.flatnonzero(~fitting).tolist():
        raise DataError(
            f"{named('task', task)} does not fit {rows.name}: the numbers of {plural(len(wrong), 'row')} {what} "
            f"({places_of(rows.places, wrong)})."
        )
    if task == "multi-class":
        return Labels(task, rows.class_names, targets.argmax(axis=1).tolist(), stated=True)
    notes = []
    if task == "multi-label" and (empty := np.flatnonzero(sums == 0).tolist()):
        count = plural(len(empty), "image")
        notes.append(f"{count} of {rows.name} without any label ({places_of(rows.places, empty)}).")
    return Labels(task, rows.class_names, rows_of(targets, task), notes, stated=True)


def _task_of_numbers(rows: "Rows", decided: np.ndarray, shares: np.ndarray, sums: np.ndarray) -> Task:
    """Return the task that numbers mean.

    Args:
        rows: The rows.
        decided: Whether all numbers of a row are 0 or 1.
        shares: Whether they sum to 1.
        sums: Their sums.

    Raises:
        DataError: They can mean two tasks, or none.
    """
    if not decided.all():
        if shares.all():
            return "soft"
        wrong = np.flatnonzero(~shares & ~decided if (~shares & ~decided).any() else ~shares).tolist()
        raise DataError(
            f"{plural(len(wrong), 'row')} of {rows.name} ({places_of(rows.places, wrong)}) cannot be read beside the "
            "others: several labels an image are 0 or 1 in each column, and shares of classes sum to 1 in each row."
        )
    if (sums == 1).all():
        raise DataError(
            f"Every row of {rows.name} has a single 1 among its columns of labels "
            f"({join_names(rows.class_names or ())}): say {named('task', 'multi-class')} if that is always so, or "
            f"{named('task', 'multi-label')} if an image may have several labels or none."
        )
    return "multi-label"


def _number_array(rows: "Rows") -> np.ndarray:
    """Return the cells as float32 (rows, classes).

    Raises:
        DataError: A cell is no number from 0 to 1.
    """
    names = rows.class_names or ()
    targets = empty_targets(len(rows.labels), len(names), rows.name)
    labels: Any = rows.labels
    if isinstance(labels, np.ndarray):
        targets[:] = labels
    else:
        for at, cells in enumerate(labels):
            for column, cell in enumerate(cells):
                try:
                    targets[at, column] = cell
                except (TypeError, ValueError):
                    raise _no_number(rows, at, column, cell) from None
    outside = ~((targets >= 0) & (targets <= 1))  # NaN too.
    if outside.any():
        at, column = (int(place[0]) for place in outside.nonzero())
        raise _no_number(rows, at, column, rows.labels[at][column])
    return targets


def _no_number(rows: "Rows", at: int, column: int, cell: object) -> DataError:
    name = (rows.class_names or ())[column]
    return DataError(
        f"{rows.places[at]} of {rows.name} has {'nothing' if is_empty(cell) else format_value(cell)} in the column "
        f"{name}: several columns of labels are numbers from 0 to 1, one for each class."
    )


def empty_targets(rows: int, classes: int, name: str) -> np.ndarray:
    """Return zeros, float32 (rows, classes).

    Raises:
        DataError: They would not fit into the memory.
    """
    needed, memory = 4 * rows * classes, psutil.virtual_memory().total
    if needed > MEMORY_SHARE * memory:
        raise DataError(
            f"The labels of {name}, {rows:,} images by {classes:,} classes, take {format_size(needed)}; this machine "
            f"has {format_size(memory)} of memory. Leave out rare classes, or divide the table."
        )
    return np.zeros((rows, classes), np.float32)


def sort_classes(names: set[str]) -> list[str]:
    """Return class names in order: of their values if all are integers."""
    if all(name.removeprefix("-").isdecimal() for name in names):
        return sorted(names, key=lambda name: (int(name), name))
    return sorted(names)


def places_of(places: Sequence[str], indices: Sequence[int]) -> str:
    """Return the first places of some rows for a message."""
    more = f" and {len(indices) - 5:,} more" if len(indices) > 5 else ""
    return join_names([places[index] for index in indices[:5]]) + more


def _has(value: object, cell: object) -> bool:
    """Return whether a cell is a label or lists it."""
    return cell == value or (isinstance(cell, tuple) and value in cell)


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value).strip()


def _note_numbers(names: Sequence[str]) -> list[str]:
    """Return a note on classes that are the same number, such as 3 and 3.0 or 07 and 7."""
    alike: defaultdict[float, list[str]] = defaultdict(list)
    for name in names:
        try:
            alike[float(name)].append(name)
        except ValueError:
            continue
    groups = [" and ".join(same) for same in alike.values() if len(same) > 1]
    return [
        f"Classes that are the same number are learned as several: {join_names(groups)}. If they are one, write them "
        "alike."
    ] * bool(groups)
