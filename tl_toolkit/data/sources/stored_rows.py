"""From rows that hold images, and the cells beside these, to a source."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from tl_toolkit.data.sources.arrow_columns import Columns
from tl_toolkit.data.sources.base import Source, SourceOptions
from tl_toolkit.data.sources.row_labels import is_empty
from tl_toolkit.data.sources.rows import Rows, source_of_rows
from tl_toolkit.data.stored_images import ImageStore, StoredImages
from tl_toolkit.text import plural

if TYPE_CHECKING:
    import pyarrow as pa

WITHHELD = -1
"""What stands for a class that is not told, where classes are stated (`datasets.ClassLabel`)."""


class StoredPlaces(Sequence[str]):
    """What messages call the rows of a store."""

    def __init__(self, images: StoredImages) -> None:
        self._images = images

    def __len__(self) -> int:
        return len(self._images)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> "Sequence[str]": ...
    def __getitem__(self, index: int | slice) -> "str | Sequence[str]":
        return [self[at] for at in range(len(self))[index]] if isinstance(index, slice) else self._images.place(index)


def source_of_store(
    name: str,
    store: ImageStore,
    columns: Columns,
    cells: Mapping[str, list[Any]],
    options: SourceOptions,
    splits: Sequence[str] | None = None,
    paths: "pa.ChunkedArray | None" = None,
) -> Source:
    """Return the source of rows that hold their images.

    Args:
        name: Short, for the name of the run.
        store: The images.
        columns: Which column is what.
        cells: The cells of each column beside the images.
        options: How to read them.
        splits: The split of each row, if it is known without a column.
        paths: The path beside each image, if there is one.

    Raises:
        DataError: Labels, splits or groups are not as expected.
    """
    splits = splits or (cells[columns.split] if columns.split else None)
    images = StoredImages(store, None if paths is None else image_names(paths, _classes(columns, cells), splits))
    several = len(columns.labels) > 1
    rows = Rows(
        name,
        images,
        list(map(list, zip(*map(cells.__getitem__, columns.labels), strict=True)))
        if several
        else cells[columns.labels[0]],
        StoredPlaces(images),
        columns.labels if several else columns.class_names,
        splits,
        cells[columns.group] if columns.group else None,
        per_class=several,
    )
    return source_of_rows(without_unlabelled_splits(rows), options)


def image_names(
    paths: "pa.ChunkedArray", classes: Sequence[str | None] | None, splits: Sequence[Any] | None
) -> "pa.Array | None":
    """Return the names of images, null for those that share theirs with another image of their split.

    An image is named by its path. `datasets` keeps only the last part of it: the split, if there are several, and the
    class come before this, so that the image is named, and val is drawn, as in a folder with class folders.

    Args:
        paths: The path beside each image, or null.
        classes: The class of each image, if it has one.
        splits: The split of each image, if there are splits.

    Returns:
        Text (N), or None if no image has a name.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    whole = paths.cast(pa.large_string()).combine_chunks()
    if classes is not None:
        folders = [pa.array(classes, pa.large_string())]
        if splits is not None and len(set(splits)) > 1:
            folders.insert(0, pa.array(map(str, splits), pa.large_string()))
        within = pc.binary_join_element_wise(*folders, whole, pa.scalar("/", pa.large_string()))
        bare = pc.invert(pc.match_substring_regex(whole, r"[/\\]"))
        whole = pc.if_else(pc.fill_null(bare, False), within, whole)
    codes = whole.dictionary_encode().indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    if splits is not None:
        _, split_codes = np.unique(np.array(splits, dtype=str), return_inverse=True)
        pairs = codes * (int(split_codes.max(initial=0)) + 1) + split_codes
    else:
        pairs = codes
    _, inverse, counts = np.unique(pairs, return_inverse=True, return_counts=True)
    unique = (counts[inverse] == 1) & (codes >= 0)
    return pc.if_else(pa.array(unique), whole, None) if unique.any() else None


def _classes(columns: Columns, cells: Mapping[str, list[Any]]) -> list[str | None] | None:
    """Return the class of each row as text; None if rows have several."""
    labels = cells[columns.labels[0]]
    if len(columns.labels) > 1 or any(isinstance(cell, list) for cell in labels):
        return None
    names = columns.class_names
    if names is None:
        return [None if cell is None else str(cell) for cell in labels]
    return [names[cell] if isinstance(cell, int) and 0 <= cell < len(names) else None for cell in labels]


def without_unlabelled_splits(rows: Rows) -> Rows:
    """Return the rows without the splits in which no image has a label, as in many public test sets, with a note."""
    if rows.splits is None or rows.per_class:
        return rows
    labelled = {split for split, cell in zip(rows.splits, rows.labels, strict=True) if not _is_withheld(rows, cell)}
    gone = [split for split in dict.fromkeys(rows.splits) if split not in labelled]
    if not gone or not labelled:
        return rows
    keep = [index for index, split in enumerate(rows.splits) if split in labelled]
    notes = []
    for split in gone:
        count = sum(other == split for other in rows.splits)
        notes.append(f"{split} of {rows.name} has no labels ({plural(count, 'image')}), so it is left out.")
    images = rows.images.subset(keep)
    assert isinstance(images, StoredImages)  # As is the whole.
    return dataclasses.replace(
        rows,
        images=images,
        labels=[rows.labels[index] for index in keep],
        places=StoredPlaces(images),
        splits=[rows.splits[index] for index in keep],
        groups=None if rows.groups is None else [rows.groups[index] for index in keep],
        notes=[*rows.notes, *notes],
    )


def _is_withheld(rows: Rows, cell: Any) -> bool:
    return is_empty(cell) or (rows.class_names is not None and isinstance(cell, int) and cell == WITHHELD)
