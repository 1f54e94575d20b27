"""Rows of a table, whatever it is stored in: from labels, splits and groups to a source with classes."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tl_toolkit.data.image_sets import ImageSet
from tl_toolkit.data.sources.base import Source, SourceOptions


@dataclass(frozen=True)
class Rows:
    """Images and what is written beside each of them, before classes and splits are known.

    Attributes:
        name: Short, for the name of the run.
        images: An image for each row.
        labels: A cell for each row: a class as text or number, a list of classes, or a number for each of the
            `class_names`.
        places: What messages call a row, such as "line 7".
        class_names: Classes in the order of the targets, if the format states them; else they come from the labels,
            sorted.
        splits: The split of each row; None if the table has none.
        groups: What must not be divided between splits, by row; None if the table has no such column.
        root: Folder to which reports show file names relative, if there is one.
        notes: What a user should know about how the rows were read.
    """

    name: str
    images: ImageSet
    labels: Sequence[Any]
    places: Sequence[str]
    class_names: tuple[str, ...] | None = None
    splits: Sequence[str] | None = None
    groups: Sequence[str] | None = None
    root: Path | None = None
    notes: list[str] = field(default_factory=list)


def source_of_rows(rows: Rows, options: SourceOptions) -> Source:
    """Divide rows into splits, and their labels into classes and targets.

    Raises:
        DataError: Labels, splits or groups are missing, ambiguous or contradict each other.
    """
    raise NotImplementedError
