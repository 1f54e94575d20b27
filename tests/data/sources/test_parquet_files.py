import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.folders import touch_files
from tl_toolkit.data.sources.parquet_files import choose_splits, find_files, split_files, split_of
from tl_toolkit.errors import DataError


@pytest.mark.parametrize(
    ("path", "split"),
    [
        ("train-00000-of-00002.parquet", "train"),
        ("data/validation-00000-of-00001.parquet", "val"),
        ("my_dev.set.parquet", "val"),
        ("test/0000.parquet", "test"),
        ("partial-train/train-0.parquet", "train"),
        ("evaluation.parquet", "test"),
        ("eval/training.parquet", "test"),
        ("trains.parquet", None),
        ("contest.parquet", None),
        ("photos.parquet", None),
    ],
)
def test_split_of_a_path_is_the_word_of_a_folder_or_else_of_the_file(path: str, split: str | None):
    assert split_of(path) == split


def test_path_with_the_words_of_two_splits_is_refused():
    with pytest.raises(DataError) as error:
        split_of("train-test.parquet")
    assert str(error.value) == (
        "train-test.parquet could be of train or test: let its name have the word of one split only."
    )


def test_files_without_any_split_have_none():
    assert split_files(["a.parquet", "b.parquet"], "set") is None


def test_parquet_files_are_found_in_the_folder_its_data_and_its_splits(tmp_path: Path):
    touch_files(tmp_path, "b.parquet", "A.PARQUET", "data/c.parquet", "test/d.parquet", "README.md", ".git/x")
    assert find_files(str(tmp_path)) == ["A.PARQUET", "b.parquet", "data/c.parquet", "test/d.parquet"]


@pytest.mark.parametrize(
    "files",
    [
        ("cat/1.png", "labels.parquet"),
        ("train/cat/1.png", "test/cat/1.png"),
        ("train/a.parquet", "test/1.png"),
        ("train/a.parquet", "train/cat/1.png"),
        ("cat/1.png", "dog/2.png"),
        ("data/cat/1.png",),
    ],
)
def test_folder_with_folders_of_other_files_has_none(tmp_path: Path, files: tuple[str, ...]):
    assert find_files(str(touch_files(tmp_path, *files))) == []


def test_splits_of_a_dataset_are_known_by_their_names_and_others_are_passed_over():
    assert choose_splits(["train", "Validation", "extra"], "a") == (
        {"train": "train", "val": "Validation"},
        ["Passed over extra of a: neither train, validation nor test."],
    )
    assert choose_splits(["full"], "a") == ({"train": "full"}, ["a has one split, full: it is taken as train."])
    assert choose_splits(["test"], "a") == ({"test": "test"}, [])


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["valid", "dev"], "a has several splits for val: valid and dev. Keep one of them."),
        (
            ["x", "y"],
            "a has the splits x, y, of which none is train, validation or test. Give one of them that name.",
        ),
    ],
)
def test_splits_of_unclear_names_are_refused(names: list[str], message: str):
    with pytest.raises(DataError) as error:
        choose_splits(names, "a")
    assert str(error.value) == message


def test_what_reads_other_kinds_is_not_imported_for_a_folder(tmp_path: Path):
    touch_files(tmp_path, "cat/1.jpg", "dog/2.jpg")
    heavy = {"pyarrow", "datasets", "fsspec", "psutil", "filelock", "tl_toolkit.io.remote_files"}
    code = (
        f"import sys; from tl_toolkit.data.sources.base import open_source; open_source({str(tmp_path)!r}); "
        f"print(sorted({heavy!r} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout == "[]\n"
