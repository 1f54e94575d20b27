from typing import Any

import pytest

from tl_toolkit.data.sources.base import SourceOptions
from tl_toolkit.data.sources.columns import find_columns, may_be_used
from tl_toolkit.errors import ToolkitError


def find(columns: str, **options: Any) -> tuple[Any, ...]:
    found = find_columns(columns.split(), SourceOptions(**options), "birds.csv")
    return found.path, found.labels, found.split, found.group


def message_of(columns: str, **options: Any) -> str:
    with pytest.raises(ToolkitError) as raised:
        find(columns, **options)
    return str(raised.value)


@pytest.mark.parametrize(
    ("columns", "found"),
    [
        ("path label", ("path", ("label",), None, None)),
        ("id File_Name Category fold", ("File_Name", ("Category",), None, None)),
        ("Image-Path CLASS Subset patient", ("Image-Path", ("CLASS",), "Subset", None)),
        ("img target split", ("img", ("target",), "split", None)),
    ],
)
def test_find_columns_knows_them_by_name(columns: str, found: tuple[Any, ...]) -> None:
    assert find(columns) == found


def test_find_columns_takes_those_named() -> None:
    options = {"path_column": "A", "label_column": ("cat", "dog"), "split_column": "part", "group_column": "patient"}
    assert find("a path label part Patient cat dog", **options) == ("a", ("cat", "dog"), "part", "Patient")


def test_find_columns_without_a_known_name_is_refused() -> None:
    assert message_of("phat label") == (
        "birds.csv has no column of images that is known by its name (path, paths, file, ...): its columns are phat, "
        'label. Say which it is with path_column=NAME. Did you mean path_column="phat"?'
    )
    assert message_of("cat/1.png cat") == (
        "birds.csv has no column of images that is known by its name (path, paths, file, ...): its columns are "
        "cat/1.png, cat. Say which it is with path_column=NAME. If its first line is a row, write a line above it: "
        "path,label."
    )
    assert message_of("path x").startswith(
        "birds.csv has no column of labels that is known by its name (label, labels,"
    )


def test_find_columns_with_two_candidates_is_refused() -> None:
    assert message_of("image path label") == (
        'birds.csv has 2 columns that may be the images: image, path. Say which it is: path_column="image".'
    )
    assert "may be the splits: split, subset" in message_of("path label split subset")


def test_find_columns_with_named_one_that_is_missing_is_refused() -> None:
    assert message_of("path label", label_column=("lable",)) == (
        "No column of birds.csv is named 'lable'. Did you mean label?"
    )
    assert message_of("path label", group_column="x") == (
        "No column of birds.csv is named 'x'. Choose from path, label."
    )


def test_find_columns_with_one_for_two_uses_is_refused() -> None:
    assert message_of("path label", label_column=("path",)) == (
        "The column path of birds.csv is named for two uses; each takes a column of its own."
    )


def test_group_column_may_be_another_column() -> None:
    assert find("path label", group_column="label") == ("path", ("label",), None, "label")


def test_may_be_used_keeps_named_and_known_columns() -> None:
    options = SourceOptions(group_column="Patient")
    assert [name for name in ("path", "Class_Name", "patient", "fold", "age") if may_be_used(name, options)] == [
        "path",
        "Class_Name",
        "patient",
    ]
