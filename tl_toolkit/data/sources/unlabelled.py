"""Splits whose labels are withheld, as many public test sets have them."""

import dataclasses
from typing import Any

from tl_toolkit.data.sources.row_labels import is_empty
from tl_toolkit.data.sources.rows import Rows
from tl_toolkit.text import plural

WITHHELD = -1
"""What stands for a class that is not told, where classes are stated (`datasets.ClassLabel`)."""


def without_unlabelled_splits(rows: Rows) -> Rows:
    """Return the rows without the splits in which no image has a label, with a note on them."""
    if rows.splits is None or rows.per_class:
        return rows
    labelled = {split for split, cell in zip(rows.splits, rows.labels, strict=True) if not _is_withheld(rows, cell)}
    gone = [split for split in dict.fromkeys(rows.splits) if split not in labelled]
    if not gone or not labelled:
        return rows
    keep = [index for index, split in enumerate(rows.splits) if split in labelled]
    notes = [
        f"{split} of {rows.name} has no labels ({plural(rows.splits.count(split), 'image')}), so it is left out."
        for split in gone
    ]
    return dataclasses.replace(
        rows,
        images=rows.images.subset(keep),
        labels=[rows.labels[index] for index in keep],
        places=[rows.places[index] for index in keep],
        splits=[rows.splits[index] for index in keep],
        groups=[rows.groups[index] for index in keep] if rows.groups is not None else None,
        notes=[*rows.notes, *notes],
    )


def _is_withheld(rows: Rows, cell: Any) -> bool:
    return is_empty(cell) or (rows.class_names is not None and isinstance(cell, int) and cell == WITHHELD)
