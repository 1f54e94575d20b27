"""Parquet files: which columns, splits and labels they have, and what is wrong with them."""

import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.helpers.folders import copy_digits
from tests.helpers.parquet import png, write_folder, write_parquet
from tl_toolkit.data import parquet_images
from tl_toolkit.data.sources.base import Source, open_source
from tl_toolkit.errors import DataError, ToolkitError

IMAGES = [{"bytes": png(value), "path": f"{value}.png"} for value in range(6)]
LABELS = ["cat", "cat", "cat", "dog", "dog", "dog"]
CLASS_LABEL = {"names": ["dog", "cat"], "_type": "ClassLabel"}
IMAGE = {"_type": "Image"}


def problem(spec: Path, **settings: object) -> str:
    with pytest.raises(ToolkitError) as error:
        open_source(spec, **settings)
    return str(error.value).replace(f"{spec.parent}/", "")


def values(source: Source, split: str = "train") -> list[int]:
    samples = source.split(split)
    return [samples.open(index, 3).getpixel((0, 0))[0] for index in range(len(samples))]


def test_file_of_images_and_labels_is_one_split(tmp_path: Path):
    source = open_source(write_parquet(tmp_path / "photos.parquet", {"image": IMAGES, "label": LABELS}))
    assert (source.name, source.class_names, source.notes, list(source.splits)) == (
        "photos.parquet",
        ("cat", "dog"),
        [],
        ["train"],
    )
    samples = source.split("train")
    assert list(samples.targets) == [0, 0, 0, 1, 1, 1]
    assert values(source) == [0, 1, 2, 3, 4, 5]
    assert samples.names() == [
        *(f"cat/{value}.png" for value in range(3)),
        *(f"dog/{value}.png" for value in (3, 4, 5)),
    ]


def test_columns_are_found_by_type_and_name_or_given(tmp_path: Path):
    path = write_parquet(
        tmp_path / "photos.parquet",
        {"id": list(range(6)), "Class": LABELS, "jpg": [png(value) for value in range(6)], "kind": LABELS[::-1]},
    )
    assert list(open_source(path).split("train").targets) == [0, 0, 0, 1, 1, 1]
    assert values(open_source(path)) == [0, 1, 2, 3, 4, 5]
    assert list(open_source(path, label_column=("kind",)).split("train").targets) == [1, 1, 1, 0, 0, 0]
    assert open_source(path, label_column=("id",)).class_names == ("0", "1", "2", "3", "4", "5")


def test_class_names_and_image_column_come_from_the_features(tmp_path: Path):
    columns = {"image": IMAGES, "label": [1, 1, 1, 0, 0, 0], "mask": IMAGES, "width": [8] * 6}
    features = {"image": IMAGE, "label": CLASS_LABEL, "width": {"dtype": "int64", "_type": "Value"}}
    source = open_source(write_parquet(tmp_path / "photos.parquet", columns, features=features))
    assert source.class_names == ("dog", "cat")
    assert list(source.split("train").targets) == [1, 1, 1, 0, 0, 0]


def test_lists_of_class_labels_are_several_labels_an_image(tmp_path: Path):
    columns = {"image": IMAGES[:3], "tags": [[0, 1], [1], []]}
    features = {"image": IMAGE, "tags": {"feature": CLASS_LABEL, "_type": "List"}}
    source = open_source(write_parquet(tmp_path / "photos.parquet", columns, features=features))
    assert (source.task, source.class_names) == ("multi-label", ("dog", "cat"))
    assert np.asarray(source.split("train").targets).tolist() == [[1, 1], [0, 1], [0, 0]]


def test_columns_of_numbers_are_shares_of_classes(tmp_path: Path):
    columns = {"image": IMAGES[:3], "cat": [0.25, 1.0, 0.0], "dog": [0.75, 0.0, 1.0]}
    source = open_source(write_parquet(tmp_path / "photos.parquet", columns), label_column=("cat", "dog"))
    assert (source.task, source.class_names) == ("soft", ("cat", "dog"))
    assert np.asarray(source.split("train").targets).tolist() == [[0.25, 0.75], [1, 0], [0, 1]]


@pytest.mark.parametrize(
    "names",
    [
        ("train-00000-of-00002.parquet", "train-00001-of-00002.parquet", "validation-00000-of-00001.parquet"),
        ("data/train-0.parquet", "data/train-1.parquet", "data/dev.parquet"),
        ("train/0000.parquet", "train/0001.parquet", "validation/0000.parquet"),
    ],
)
def test_folder_of_files_has_the_splits_that_their_names_say(tmp_path: Path, names: tuple[str, ...]):
    folder = tmp_path / "set"
    for index, name in enumerate(names):
        at = slice(2 * index, 2 * index + 2)
        write_parquet(folder / name, {"image": IMAGES[at], "label": ["cat", "dog"]})
    (folder / "README.md").touch()
    source = open_source(folder)
    assert (source.name, list(source.splits)) == ("set", ["train", "val"])
    assert (values(source), values(source, "val")) == ([0, 1, 2, 3], [4, 5])


def test_folder_of_files_without_splits_is_one_split(tmp_path: Path):
    for index in range(2):
        cells = {"image": IMAGES[index::2], "label": LABELS[index::2]}
        write_parquet(tmp_path / "set" / f"part-{index}.parquet", cells)
    assert values(open_source(tmp_path / "set")) == [0, 2, 4, 1, 3, 5]


def test_name_of_a_single_file_says_no_split_and_a_column_does(tmp_path: Path):
    splits = ["train", "train", "test", "train", "train", "validation"]
    path = write_parquet(tmp_path / "test.parquet", {"image": IMAGES, "label": LABELS, "split": splits})
    source = open_source(path)
    assert {split: values(source, split) for split in source.splits} == {"train": [0, 1, 3, 4], "val": [5], "test": [2]}


def test_groups_are_kept(tmp_path: Path):
    path = write_parquet(tmp_path / "a.parquet", {"image": IMAGES, "label": LABELS, "patient": [1, 1, 2, 3, 3, 4]})
    samples = open_source(path, group_column="patient").split("train")
    assert list(samples.groups) == ["1", "1", "2", "3", "3", "4"]


def test_split_without_labels_is_left_out_with_a_note(tmp_path: Path):
    features = {"image": IMAGE, "label": CLASS_LABEL}
    write_parquet(tmp_path / "set/train.parquet", {"image": IMAGES[:4], "label": [0, 1, 0, 1]}, features=features)
    write_parquet(tmp_path / "set/test.parquet", {"image": IMAGES[4:], "label": [-1, -1]}, features=features)
    source = open_source(tmp_path / "set")
    assert list(source.splits) == ["train"]
    assert source.notes == ["test of set has no labels (2 images), so it is left out."]


def test_images_that_share_a_name_are_named_by_their_row(tmp_path: Path):
    cells = [{"bytes": png(1), "path": path} for path in ("a.png", "b.png", "b.png", None, "x/b.png")]
    path = write_parquet(tmp_path / "photos.parquet", {"image": cells, "label": ["u", "u", "u", "v", "v"]})
    names = open_source(path).split("train").names()
    assert names == ["u/a.png", "photos.parquet row 1", "photos.parquet row 2", "photos.parquet row 3", "x/b.png"]


def test_table_of_paths_gives_the_images_of_the_folder(tmp_path: Path):
    copy_digits(tmp_path / "photos", ["0", "1"], 3)
    files = sorted((tmp_path / "photos").rglob("*.png"))
    names = [str(file.relative_to(tmp_path / "photos")) for file in files]
    cells = {"file_name": names, "label": [file.parent.name for file in files]}
    source = open_source(write_parquet(tmp_path / "photos" / "labels.parquet", cells))
    folder = open_source(tmp_path / "photos")
    assert source.split("train").names() == folder.split("train").names()
    assert list(source.split("train").targets) == list(folder.split("train").targets)


def test_folder_of_class_folders_with_a_parquet_file_beside_them_stays_one(tmp_path: Path):
    folder = copy_digits(tmp_path / "photos", ["0", "1"], 2)
    write_parquet(folder / "labels.parquet", {"path": ["a"], "label": ["b"]})
    assert open_source(folder).class_names == ("0", "1")


@pytest.mark.parametrize(
    ("columns", "settings", "message"),
    [
        (
            {"image": IMAGES, "lable": LABELS},
            {},
            "a.parquet has no column of labels that is known by its name (label, labels, class, ...): its columns are "
            'lable. Say which it is with label_column=NAME. Did you mean label_column="lable"?',
        ),
        (
            {"x": [1.5] * 6, "label": LABELS},
            {},
            "a.parquet has no column of images or of their paths: its columns are x (double), label (string). Images "
            "are bytes, or structs with bytes; path_column=COLUMN names a column of paths.",
        ),
        (
            {"image": IMAGES, "label": LABELS},
            {"path_column": "imag"},
            "No column of a.parquet is named 'imag'. Did you mean image?",
        ),
        (
            {"left": IMAGES, "right": IMAGES, "label": LABELS},
            {},
            "a.parquet has several columns of images (left, right). Say which one holds the images: "
            'path_column="left", for example.',
        ),
        (
            {"image": IMAGES, "label": [{"a": 1}] * 6},
            {},
            "a.parquet: label holds struct<a: int64>, but labels are text, whole numbers or lists of these.",
        ),
        (
            {"image": IMAGES, "label": LABELS},
            {"path_column": "label", "label_column": ("label",)},
            "a.parquet: label cannot hold both the images and the labels; its columns are image (image), label "
            "(string).",
        ),
        (
            {"image": [{"u": 1}] * 6, "label": LABELS},
            {"path_column": "image"},
            "a.parquet: image holds struct<u: int64>, but images are bytes, structs with bytes, or paths as text; its "
            "columns are image (struct<u: int64>), label (string).",
        ),
        (
            {"image": IMAGES, "label": ["cat", None, "cat", "dog", "dog", None]},
            {},
            "a.parquet has 2 rows without a label (a.parquet row 1, a.parquet row 5). Write one into each",
        ),
        ({"image": IMAGES[:0], "label": LABELS[:0]}, {}, "a.parquet has no rows: it needs one for each image."),
    ],
)
def test_table_that_is_not_as_expected_says_so(
    tmp_path: Path, columns: dict[str, list[object]], settings: dict[str, object], message: str
):
    if columns.get("label") == []:
        columns = {"image": pa.array([], pa.binary()), "label": pa.array([], pa.string())}
    assert problem(write_parquet(tmp_path / "a.parquet", columns), **settings).startswith(message)


def test_several_class_labels_are_refused_naming_them(tmp_path: Path):
    columns = {"img": IMAGES, "fine_label": [0] * 6, "coarse_label": [1] * 6}
    features = {"img": IMAGE, "fine_label": CLASS_LABEL, "coarse_label": CLASS_LABEL}
    assert problem(write_parquet(tmp_path / "a.parquet", columns, features=features)) == (
        "a.parquet has several columns of labels (fine_label, coarse_label). Say which one to learn: "
        'label_column="fine_label", for example.'
    )


def test_damaged_cut_off_and_empty_files_say_so(tmp_path: Path):
    path = write_parquet(tmp_path / "a.parquet", {"image": IMAGES, "label": LABELS})
    whole = path.read_bytes()
    told = []
    for content in (whole[:-20], b"no table at all", b""):
        path.write_bytes(content)
        told.append(problem(path))
    damaged = "a.parquet cannot be read as a Parquet file: it is damaged, cut off or of another kind ("
    assert told[0].startswith(damaged)
    assert told[0].endswith("). Copy or write it again.")
    assert told[1].startswith(damaged)
    assert told[2] == "a.parquet is empty: it has no byte."


def test_files_of_a_folder_with_other_columns_are_refused(tmp_path: Path):
    write_parquet(tmp_path / "set/a.parquet", {"image": IMAGES, "label": LABELS})
    write_parquet(tmp_path / "set/b.parquet", {"image": IMAGES, "kind": LABELS})
    assert problem(tmp_path / "set") == (
        "b.parquet has no column label, which a.parquet has; its columns are image, kind. All files of a table need "
        "the same columns."
    )
    write_parquet(tmp_path / "set/b.parquet", {"image": IMAGES, "label": [1] * 6})
    assert problem(tmp_path / "set") == (
        "label holds int64 in b.parquet, but string in a.parquet. All files of a table need the same types."
    )


def test_files_of_which_only_some_name_a_split_are_refused(tmp_path: Path):
    for name in ("train.parquet", "other.parquet"):
        write_parquet(tmp_path / "set" / name, {"image": IMAGES, "label": LABELS})
    assert problem(tmp_path / "set") == (
        "set has files that name a split, and others (other.parquet). Put train, validation or test into the name of "
        "each file, or move the others away."
    )


def test_without_pyarrow_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = write_parquet(tmp_path / "a.parquet", {"image": IMAGES, "label": LABELS})
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(DataError) as error:
        open_source(path)
    assert str(error.value).endswith("a.parquet needs the package pyarrow: pip install 'tl_toolkit[parquet]'.")


def test_only_labels_and_names_are_read_before_an_image_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    digits = copy_digits(tmp_path / "digits", ["0", "1"], 5)
    path = write_folder(tmp_path / "a.parquet", digits)
    wanted = []
    original = pq.ParquetFile.read
    monkeypatch.setattr(
        pq.ParquetFile, "read", lambda file, columns: wanted.append(columns) or original(file, columns=columns)
    )
    monkeypatch.setattr(parquet_images.RowGroups, "_read", None)
    assert len(open_source(path).split("train")) == 10
    assert wanted == [["label", "image.path"]]
