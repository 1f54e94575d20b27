"""Rows of a table, whatever it is stored in: from labels, splits and groups to a source with classes."""

import difflib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, overload

from tl_toolkit.data.image_sets import ImageSet
from tl_toolkit.data.samples import Samples
from tl_toolkit.data.sources.base import Source, SourceOptions
from tl_toolkit.data.sources.folder import OTHER_SPLIT_NAMES, nearest_class
from tl_toolkit.data.sources.names import SPLIT_FOLDERS
from tl_toolkit.data.sources.row_labels import Labels, is_empty, places_of, read_labels
from tl_toolkit.data.targets import classes_in, name_target, target_of
from tl_toolkit.errors import DataError
from tl_toolkit.text import format_value, join_names, named, plural


@dataclass(frozen=True)
class Rows:
    """Images and what is written beside each of them, before classes and splits are known.

    Attributes:
        name: Short, for the name of the run.
        images: An image for each row.
        labels: A cell for each row. A class is text or a number; an int is a place among `class_names` if these are
            stated, else its text is the class. Several classes are a list, or text that lists them. With `per_class`
            a cell is a list of numbers, one for each of `class_names`, or all cells are an array (rows, classes).
        places: What messages call a row, such as "line 7"; see `RowPlaces`.
        class_names: Classes in the order of the targets, if the format states them; else they come from the labels,
            sorted.
        splits: The split of each row; None if the table has none.
        groups: What must not be divided between splits, by row; None if the table has no such column.
        root: Folder to which reports show file names relative, if there is one.
        notes: What a user should know about how the rows were read.
        per_class: Whether a cell is a number for each class, as in a table with a column a class.
        keys: What tells images apart, such as their paths: rows of the same key are of the same image. None if each
            row is an image of its own.
    """

    name: str
    images: ImageSet
    labels: Sequence[Any]
    places: Sequence[str]
    class_names: tuple[str, ...] | None = None
    splits: Sequence[str | None] | None = None
    groups: Sequence[Any] | None = None
    root: Path | None = None
    notes: list[str] = field(default_factory=list)
    per_class: bool = False
    keys: Sequence[str] | None = None


class RowPlaces(Sequence[str]):
    """What messages call rows: a noun and a number, such as "line 7". A million texts would take 60 MB.

    Args:
        noun: Such as "line" or "row".
        numbers: The number of each row.
    """

    def __init__(self, noun: str, numbers: Sequence[int]) -> None:
        self._noun = noun
        self._numbers = numbers

    def __len__(self) -> int:
        return len(self._numbers)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> "RowPlaces": ...
    def __getitem__(self, index: int | slice) -> "str | RowPlaces":
        if isinstance(index, slice):
            return RowPlaces(self._noun, self._numbers[index])
        return f"{self._noun} {self._numbers[index]}"


def source_of_rows(rows: Rows, options: SourceOptions) -> Source:
    """Divide rows into splits, and their labels into classes and targets.

    Rows that repeat an image with the same label, split and group count once.

    Raises:
        DataError: Labels, splits or groups are missing, ambiguous or contradict each other.
    """
    if not len(rows.labels):
        raise DataError(f"{rows.name} has no rows: it needs one for each image.")
    labels = read_labels(rows, options)
    splits = _splits(rows)
    groups = _groups(rows)
    if splits and groups:
        _check_groups(rows, splits, groups)
    kept, repeated = _without_repeats(rows, labels, splits, groups)
    samples = Samples(rows.images, labels.targets, groups=groups or ())
    if splits is None:
        parts = {"train": samples if kept is None else samples.subset(kept)}
    else:
        places = defaultdict(list)
        for index in range(len(samples)) if kept is None else kept:
            places[splits[index]].append(index)
        parts = {split: samples.subset(places[split]) for split in ("train", "val", "test") if split in places}
    _check_classes_of_train(parts, labels)
    return Source(
        rows.name,
        parts,
        labels.class_names,
        root=rows.root,
        notes=[*rows.notes, *labels.notes, *repeated],
        task=labels.task,
        class_remedy=f"take its rows out of {rows.name}",
    )


def _splits(rows: Rows) -> list[str] | None:
    """Return the split of each row.

    Raises:
        DataError: A cell is empty, or no split.
    """
    if rows.splits is None:
        return None
    known: dict[str | None, str] = {}
    for cell in dict.fromkeys(rows.splits):
        if is_empty(cell):
            empty = [at for at, other in enumerate(rows.splits) if is_empty(other)]
            raise DataError(
                f"{rows.name} has {plural(len(empty), 'row')} without a split ({places_of(rows.places, empty)}). Write "
                "train, val or test into each, or leave out the column of splits."
            )
        name = str(cell).strip().lower()
        if name not in SPLIT_FOLDERS:
            place = rows.places[rows.splits.index(cell)]
            near = [*OTHER_SPLIT_NAMES.get(name, ()), *difflib.get_close_matches(name, SPLIT_FOLDERS, n=1)]
            did = f" Did you mean {near[0]}?" if near else ""
            raise DataError(
                f"{place} of {rows.name} has the split {format_value(cell)}.{did} Splits are {', '.join(SPLIT_FOLDERS)}"
                f"; {named('split_column')} names another column."
            )
        known[cell] = SPLIT_FOLDERS[name]
    return [known[cell] for cell in rows.splits]


def _groups(rows: Rows) -> list[str] | None:
    """Return the group of each row as text.

    Raises:
        DataError: A cell is empty.
    """
    if rows.groups is None:
        return None
    texts = {cell: str(cell).strip() for cell in dict.fromkeys(rows.groups)}
    if any(is_empty(cell) for cell in texts):
        empty = [at for at, cell in enumerate(rows.groups) if is_empty(cell)]
        raise DataError(
            f"{rows.name} has {plural(len(empty), 'row')} without a group ({places_of(rows.places, empty)}). Write one "
            "into each; an image that belongs to no other takes a name of its own."
        )
    return [texts[cell] for cell in rows.groups]


def _check_groups(rows: Rows, splits: Sequence[str], groups: Sequence[str]) -> None:
    """Refuse a group in two splits that the table gives."""
    seen: dict[str, int] = {}
    divided: dict[str, str] = {}
    for index, (group, split) in enumerate(zip(groups, splits, strict=True)):
        first = seen.setdefault(group, index)
        if splits[first] != split and group not in divided:
            divided[group] = f"{group} ({rows.places[first]}: {splits[first]}, {rows.places[index]}: {split})"
    if divided:
        raise DataError(
            f"{rows.name} has {plural(len(divided), 'group')} in several splits: "
            f"{join_names(list(divided.values()), most=3)}. Put all images of a group into one split, or leave out the "
            "column of splits for one by groups."
        )


def _without_repeats(
    rows: Rows, labels: Labels, splits: Sequence[str] | None, groups: Sequence[str] | None
) -> tuple[list[int] | None, list[str]]:
    """Return the rows to keep, None for all of them, and a note on the others.

    Raises:
        DataError: Rows of the same image contradict each other.
    """
    if rows.keys is None or len(set(rows.keys)) == len(rows.keys):
        return None, []
    first: dict[str, int] = {}
    repeats: list[int] = []
    for index, key in enumerate(rows.keys):
        before = first.setdefault(key, index)
        if before == index:
            continue
        what = f"{format_value(key)} is in {rows.places[before]} and in {rows.places[index]} of {rows.name}"
        one, other = target_of(labels.targets, before), target_of(labels.targets, index)
        if one != other:
            both = f"{name_target(one, labels.class_names)} and {name_target(other, labels.class_names)}"
            raise DataError(
                f"{what} with different labels, {both}. If both are right, write them as a list in one cell: "
                f'["cat", "dog"], or cat;dog with {named("label_separator", ";")}.'
            )
        for noun, values in (("splits", splits), ("groups", groups)):
            if values and values[before] != values[index]:
                raise DataError(f"{what} with different {noun}, {values[before]} and {values[index]}. Keep one row.")
        repeats.append(index)
    gone = set(repeats)
    such = f"{rows.places[first[rows.keys[repeats[0]]]]} and {rows.places[repeats[0]]}"
    note = (
        f"{rows.name} has {plural(len(repeats), 'row')} with an image and a label that an earlier row has too "
        f"({such}): they count once."
    )
    return [index for index in range(len(rows.keys)) if index not in gone], [note]


def _check_classes_of_train(parts: Mapping[str, Samples], labels: Labels) -> None:
    """Refuse classes that only other splits have, often misspelt ones; stated classes need no image here."""
    if labels.stated or "train" not in parts or len(parts) == 1:
        return
    learned = classes_in(parts["train"].targets)
    for split, samples in parts.items():
        if unknown := [labels.class_names[index] for index in sorted(classes_in(samples.targets) - learned)]:
            expected = [labels.class_names[index] for index in sorted(learned)]
            near = [
                f"{name!r} may be {nearest!r}" for name in unknown[:5] if (nearest := nearest_class(name, expected))
            ]
            raise DataError(
                f"{split} has {'classes' if len(unknown) > 1 else 'a class'} ({join_names(unknown)}) that train lacks: "
                f"what no image of train has cannot be learned.{f' {join_names(near)}.' if near else ''}"
            )
