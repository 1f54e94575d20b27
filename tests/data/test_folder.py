from pathlib import Path

import pytest

from tl_toolkit.data.folder import class_folders, files_below, find_splits
from tl_toolkit.errors import DataError


def make(root: Path, *paths: str) -> Path:
    for path in paths:
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    return root


@pytest.mark.parametrize("name", ["val", "valid", "validation"])
def test_find_splits_knows_the_names_of_val(tmp_path: Path, name: str):
    root = make(tmp_path, "train/a/1.jpg", f"{name}/a/2.jpg", "test/a/3.jpg", ".git/x/4.jpg")
    splits, notes = find_splits(root)
    assert splits == {"train": root / "train", "val": root / name, "test": root / "test"}
    assert notes == []


def test_find_splits_of_plain_classes_is_all_train(tmp_path: Path):
    root = make(tmp_path, "ants/1.jpg", "bees/2.jpg")
    assert find_splits(root) == ({"train": root}, [])


def test_find_splits_with_other_folders_notes_what_is_passed_over(tmp_path: Path):
    root = make(tmp_path, "train/a/1.jpg", "annotations/1.xml")
    assert find_splits(root)[1] == [f"Passed over in {root}, no split: annotations/."]


def test_find_splits_with_two_vals_refuses(tmp_path: Path):
    root = make(tmp_path, "train/a/1.jpg", "val/a/1.jpg", "valid/a/1.jpg")
    with pytest.raises(DataError, match="two folders for val, val/ and valid/; keep one of them"):
        find_splits(root)


def test_find_splits_of_a_class_called_test_refuses_to_guess(tmp_path: Path):
    root = make(tmp_path, "test/1.jpg", "dogs/1.jpg")
    with pytest.raises(DataError, match="these can be splits or classes"):
        find_splits(root)


def test_find_splits_of_an_empty_folder_says_what_is_expected(tmp_path: Path):
    with pytest.raises(DataError, match=r"has no folders in it; expected FOLDER/CLASS/image\.jpg"):
        find_splits(tmp_path)


def test_class_folders_ignores_hidden_ones(tmp_path: Path):
    root = make(tmp_path, "b/1.jpg", "a/1.jpg", ".ipynb_checkpoints/1.jpg")
    assert class_folders(root) == ["a", "b"]


def test_files_below_takes_nested_files_and_no_litter(tmp_path: Path):
    root = make(tmp_path, "2/x.jpg", "1.jpg", ".DS_Store", "Thumbs.db", "2/.hidden/y.jpg")
    assert files_below(root) == [str(root / "1.jpg"), str(root / "2" / "x.jpg")]


def test_files_below_with_a_link_loop_ends(tmp_path: Path):
    root = make(tmp_path, "a/1.jpg")
    (root / "a" / "again").symlink_to(root, target_is_directory=True)
    assert files_below(root) == [str(root / "a" / "1.jpg")]


def test_files_below_a_missing_class_is_nothing(tmp_path: Path):
    assert files_below(tmp_path / "missing") == []


@pytest.mark.parametrize(
    ("name", "split"), [("training", "train"), ("testing", "test"), ("trian", "train"), ("dev", "val")]
)
def test_find_splits_of_folders_called_almost_like_splits_refuses(tmp_path: Path, name: str, split: str):
    root = make(tmp_path, f"{name}/cats/1.jpg", "other/cats/1.jpg")
    with pytest.raises(DataError, match=f"could be a class or a split: .* Call it {split}/ if it is a split"):
        find_splits(root)


def test_find_splits_of_a_class_called_almost_like_a_split_is_fine(tmp_path: Path):
    root = make(tmp_path, "trains/1.jpg", "cars/1.jpg")
    assert find_splits(root) == ({"train": root}, [])


def test_find_splits_with_loose_files_notes_them(tmp_path: Path):
    root = make(tmp_path, "ants/1.jpg", "bees/2.jpg", "3.jpg", "Thumbs.db")
    assert find_splits(root)[1] == [f"Passed over in {root}, in no class folder: 1 files."]


def test_files_below_with_a_link_to_itself_lists_it_as_a_file(tmp_path: Path):
    (tmp_path / "loop.png").symlink_to("loop.png")
    assert files_below(tmp_path) == [str(tmp_path / "loop.png")]
