"""Which columns of a table hold images, labels, splits and groups, whatever the table is stored in."""

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from tl_toolkit.data.sources.base import SourceOptions
from tl_toolkit.errors import DataError, UnknownNameError, UsageError
from tl_toolkit.text import join_names, named

Kind = Literal["path", "label", "split"]

NAMES: dict[Kind, tuple[str, ...]] = {
    "path": (
        "path", "paths", "file", "files", "filename", "filenames", "filepath", "image", "images", "imagepath",
        "imagefile", "imagefilename", "imagename", "img", "imgpath", "imgname", "url", "imageurl", "uri",
    ),
    "label": (
        "label", "labels", "class", "classes", "classname", "target", "targets", "category", "categories", "tag",
        "tags",
    ),
    "split": ("split", "splits", "subset", "partition"),
}  # fmt: skip
"""Names of columns in lower case, without spaces, underscores and hyphens."""

MEANINGS: dict[Kind, str] = {"path": "images", "label": "labels", "split": "splits"}
IMAGE_NAME = re.compile(r"\.(jpe?g|png|webp|bmp|gif|tiff?|avif|heic)$", re.IGNORECASE)


@dataclass(frozen=True)
class Columns:
    """The columns of a table by their use.

    Attributes:
        path: The images.
        labels: The labels: one column, or a column a class.
        split: Names of splits, if there is such a column.
        group: What must not be divided between splits, if the user named it.
    """

    path: str
    labels: tuple[str, ...]
    split: str | None
    group: str | None


def may_be_used(column: str, options: SourceOptions) -> bool:
    """Return whether `find_columns` could choose a column, so that others need not be kept in memory."""
    given = {options.path_column, options.split_column, options.group_column, *options.label_column}
    lower = {name.lower() for name in given if name}
    return column.lower() in lower or any(_plain(column) in names for names in NAMES.values())


def find_columns(columns: Sequence[str], options: SourceOptions, table: str) -> Columns:
    """Find the columns that the user named, and others by their own names, in any case.

    Args:
        columns: The names of all columns.
        options: What the user named.
        table: The name of the table, for messages.

    Raises:
        UsageError: The user named a column that is not there, or one for two uses.
        DataError: No column is known by its name, or several are.
    """
    labels = tuple(given_column(name, columns, table) for name in options.label_column)
    found = Columns(
        path=find_column("path", columns, options.path_column, table),
        labels=labels or (find_column("label", columns, None, table),),
        split=find_optional_column("split", columns, options.split_column, table),
        group=None if options.group_column is None else given_column(options.group_column, columns, table),
    )
    own = [found.path, *found.labels, found.split]
    if double := [name for name in own if own.count(name) > 1]:
        raise UsageError(f"The column {double[0]} of {table} is named for two uses; each takes a column of its own.")
    return found


def find_column(kind: Kind, columns: Sequence[str], given: str | None, table: str) -> str:
    """Return the column of a kind: the one that the user named, else by its name.

    Raises:
        UsageError: There is no such column.
        DataError: No column is known by its name, or several are.
    """
    if found := find_optional_column(kind, columns, given, table):
        return found
    flag = named(f"{kind}_column", "NAME")
    by_plain = {_plain(column): column for column in columns}
    near = [
        by_plain[match]
        for name in NAMES[kind][:1] + NAMES[kind]
        for match in difflib.get_close_matches(name, by_plain, n=1, cutoff=0.7)
    ]
    did = f" Did you mean {named(f'{kind}_column', near[0])}?" if near else ""
    headless = any(IMAGE_NAME.search(column) for column in columns)
    remedy = " If its first line is a row, write a line above it: path,label." if headless else ""
    known = ", ".join(NAMES[kind][:3])
    here = join_names([column or "(no name)" for column in columns], most=12)
    raise DataError(
        f"{table} has no column of {MEANINGS[kind]} that is known by its name ({known}, ...): its columns are "
        f"{here}. Say which it is with {flag}.{did}{remedy}"
    )


def find_optional_column(kind: Kind, columns: Sequence[str], given: str | None, table: str) -> str | None:
    """Return the column of a kind as `find_column` does, or None if none is known by its name.

    Raises:
        UsageError: There is no column that the user named.
        DataError: Several columns are known by their names.
    """
    if given is not None:
        return given_column(given, columns, table)
    found = [column for column in columns if _plain(column) in NAMES[kind]]
    if len(found) > 1:
        raise DataError(
            f"{table} has {len(found)} columns that may be the {MEANINGS[kind]}: {join_names(found)}. Say which it is: "
            f"{named(f'{kind}_column', found[0])}."
        )
    return found[0] if found else None


def given_column(name: str, columns: Sequence[str], table: str) -> str:
    """Return the column that the user named, in any case if only one has the name.

    Raises:
        UnknownNameError: There is no such column.
    """
    if name in columns:
        return name
    found = [column for column in columns if column.lower() == name.lower()]
    if len(found) == 1:
        return found[0]
    raise UnknownNameError(f"column of {table}", name, columns)


def _plain(column: str) -> str:
    return re.sub(r"[\s_-]", "", column).lower()
