from pathlib import Path

import pytest
from PIL import Image

from tests.helpers.folders import touch_files
from tl_toolkit.data.sources.base import Source
from tl_toolkit.data.sources.folder import find_splits, read_folder
from tl_toolkit.data.sources.listing import list_folder
from tl_toolkit.errors import DataError
from tl_toolkit.text import naming_flags


def splits_of(root: Path) -> tuple[dict[str, Path], list[str]]:
    return find_splits(root, list_folder(root))


def names(images: Source, root: Path, split: str = "train") -> list[str]:
    return [Path(path).relative_to(root).as_posix() for path in images.split(split).names()]


def refusal(root: Path) -> str:
    """Why a folder is refused, with it called top."""
    with naming_flags(), pytest.raises(DataError) as caught:
        read_folder(root)
    return str(caught.value).replace(str(root), "top")


@pytest.mark.parametrize("name", ["val", "valid", "validation"])
def test_find_splits_knows_the_names_of_val(tmp_path: Path, name: str):
    root = touch_files(tmp_path, "train/a/1.jpg", f"{name}/a/2.jpg", "test/a/3.jpg", ".git/x/4.jpg")
    splits, notes = splits_of(root)
    assert splits == {"train": root / "train", "val": root / name, "test": root / "test"}
    assert notes == []


def test_find_splits_of_plain_classes_is_all_train(tmp_path: Path):
    root = touch_files(tmp_path, "ants/1.jpg", "bees/2.jpg")
    assert splits_of(root) == ({"train": root}, [])


def test_find_splits_with_other_folders_notes_what_is_passed_over(tmp_path: Path):
    root = touch_files(tmp_path, "train/a/1.jpg", "annotations/1.xml")
    assert splits_of(root)[1] == [f"Passed over in {root}, no split: annotations/."]


def test_find_splits_with_two_vals_refuses(tmp_path: Path):
    root = touch_files(tmp_path, "train/a/1.jpg", "val/a/1.jpg", "valid/a/1.jpg")
    with pytest.raises(DataError, match="two folders for val, val/ and valid/; keep one of them"):
        splits_of(root)


def test_find_splits_of_a_class_called_test_refuses_to_guess(tmp_path: Path):
    root = touch_files(tmp_path, "test/1.jpg", "dogs/1.jpg")
    with pytest.raises(DataError, match="these can be splits or classes"):
        splits_of(root)


def test_find_splits_of_an_empty_folder_says_what_is_expected(tmp_path: Path):
    with pytest.raises(DataError, match=r"has no folders in it; expected FOLDER/CLASS/image\.jpg"):
        splits_of(tmp_path)


def test_read_folder_takes_no_hidden_folders_and_no_litter(tmp_path: Path):
    root = touch_files(tmp_path, "b/1.jpg", "a/1.jpg", "a/.DS_Store", "a/Thumbs.db", ".ipynb_checkpoints/1.jpg")
    found = read_folder(root)
    assert (names(found, root), found.splits["train"].targets) == (["a/1.jpg", "b/1.jpg"], [0, 1])
    assert (found.class_names, found.notes) == (("a", "b"), [])


def write_run(folder: Path) -> None:
    """A run's folder as far as its names go, with an image in it."""
    touch_files(
        folder, "config.yaml", "metrics.jsonl", "summary.json", "curves.png", "tensorboard/events.1", "masks/1.png"
    )


def test_read_folder_with_runs_among_its_classes_and_within_them_passes_them_over(tmp_path: Path):
    root = touch_files(tmp_path, "ants/1.jpg", "bees/2.jpg")
    write_run(root / "runs" / "2026-01-01-resnet18-photos")
    write_run(root / "runs" / "more" / "sweep 1")
    touch_files(root / "runs" / "killed", "config.yaml", ".lock")
    write_run(root / "ants" / "mine")
    found = read_folder(root)
    assert names(found, root) == ["ants/1.jpg", "bees/2.jpg"]
    assert found.notes == [f"Passed over {root}/runs/, {root}/ants/mine/: written by tl."]


def test_read_folder_of_splits_with_runs_beside_and_within_them_passes_them_over(tmp_path: Path):
    root = touch_files(tmp_path, "train/a/1.jpg", "train/b/1.jpg", "val/a/1.jpg", "val/b/1.jpg")
    write_run(root / "runs" / "1")
    write_run(root / "train" / "runs" / "1")
    write_run(root / "val" / "runs" / "1")
    found = read_folder(root)
    assert (names(found, root), names(found, root, "val")) == (
        ["train/a/1.jpg", "train/b/1.jpg"],
        ["val/a/1.jpg", "val/b/1.jpg"],
    )
    assert found.notes == [f"Passed over {root}/runs/, {root}/train/runs/, {root}/val/runs/: written by tl."]


def test_read_folder_with_the_cache_in_it_passes_it_over(tmp_path: Path):
    root = touch_files(
        tmp_path, "ants/1.jpg", "bees/2.jpg", "cache/features/0a/entry.json", "cache/features/0a/9-1.safetensors"
    )
    assert read_folder(root).class_names == ("ants", "bees")


def test_read_folder_keeps_a_class_with_some_files_that_tl_writes_too(tmp_path: Path):
    root = touch_files(
        tmp_path, "ants/1.jpg", "ants/config.yaml", "bees/2.jpg", "bees/entry.json", "bees/model.safetensors"
    )
    assert read_folder(root).class_names == ("ants", "bees")


def test_read_folder_of_a_run_says_that_it_is_one(tmp_path: Path):
    write_run(tmp_path)
    assert refusal(tmp_path).startswith(
        "top is a run folder written by tl, not a folder of images; expected FOLDER/CLASS/"
    )


@pytest.mark.parametrize("empty", ["docs", "ants and bees.jpgs"])
def test_read_folder_with_a_folder_without_images_beside_classes_refuses(tmp_path: Path, empty: str):
    root = touch_files(tmp_path, "ants/1.jpg", "bees/2.jpg", f"{empty}/notes.txt")
    assert refusal(root) == (
        f"top/{empty} has no images, beside folders that have (ants, bees): a class without images can be "
        "neither learned nor judged. Add images, or take it out of top."
    )


def test_read_folder_with_a_class_that_val_has_no_images_of_takes_it(tmp_path: Path):
    root = touch_files(tmp_path, "train/a/1.jpg", "train/b/1.jpg", "val/a/1.jpg")
    (root / "val" / "b").mkdir()
    assert names(read_folder(root), root, "val") == ["val/a/1.jpg"]


@pytest.mark.parametrize("own", [(), ("ants/0.jpg",)])
def test_read_folder_with_images_deeper_than_a_class_folder_refuses(tmp_path: Path, own: tuple[str, ...]):
    root = touch_files(tmp_path, "ants/2024/may/1.jpg", "ants/2024/2.jpg", "bees/2.jpg", *own)
    assert refusal(root) == (
        "top/ants/2024 has 2 images (such as top/ants/2024/2.jpg): it is unclear whether ants is their class. If it "
        "is, put them into top/ants itself; if not, take 2024 out of it."
    )


def test_read_folder_with_other_files_deeper_in_a_class_folder_passes_them_over(tmp_path: Path):
    root = touch_files(tmp_path, "ants/1.jpg", "ants/boxes/1.xml", "bees/2.jpg")
    assert read_folder(root).notes == [f"Passed over {root}/ants/boxes/1.xml: no image file."]


@pytest.mark.parametrize(
    ("paths", "meant"),
    [
        (["photos/ants/1.jpg", "photos/bees/1.jpg"], "top/photos"),
        (["photos/train/ants/1.jpg", "photos/val/ants/1.jpg"], "top/photos"),
        (["a/b c/ants/1.jpg", "a/notes/1.txt"], "'top/a/b c'"),
    ],
)
def test_read_folder_above_the_one_that_is_meant_names_it(tmp_path: Path, paths: list[str], meant: str):
    message = refusal(touch_files(tmp_path / "top", *paths).rename(tmp_path / "t")).replace(f"{tmp_path}/t", "top")
    below = meant.strip("'")
    first = below.split("/")[1]
    assert message == (
        f"top has no images in its class folders ({first}), but {below} has folders of images: say --data {meant}."
    )


def test_read_folder_above_several_that_may_be_meant_names_them(tmp_path: Path):
    root = touch_files(tmp_path, "ants/2023/1.jpg", "bees/2023/1.jpg")
    assert refusal(root) == (
        "top has no images in its class folders (ants, bees), but each of top/ants, top/bees has folders of images. If "
        "those are classes, say one of these, such as --data top/ants; if not, put the images into top/ants, top/bees "
        "themselves."
    )


def test_read_folder_without_any_image_says_what_is_expected(tmp_path: Path):
    root = touch_files(tmp_path, "ants/notes.txt")
    assert refusal(root).startswith("top has no images in its class folders (ants); expected FOLDER/CLASS/image.jpg")


def test_read_folder_with_links_to_where_they_lie_reads_no_image_twice(tmp_path: Path):
    root = touch_files(tmp_path / "photos", "ants/1.jpg", "bees/2.jpg")
    (root / "ants" / "up").symlink_to("..", target_is_directory=True)
    (root / "ants" / "here").symlink_to(".", target_is_directory=True)
    (root / "all").symlink_to(tmp_path, target_is_directory=True)
    found = read_folder(root)
    assert (names(found, root), found.class_names) == (["ants/1.jpg", "bees/2.jpg"], ("ants", "bees"))
    assert found.notes == [
        f"Passed over {root}/all, {root}/ants/here, {root}/ants/up: a link to a folder that it lies in."
    ]


def test_read_folder_with_a_class_that_is_a_link_elsewhere_takes_it(tmp_path: Path):
    root = touch_files(tmp_path, "photos/ants/1.jpg", "elsewhere/2.jpg") / "photos"
    (root / "bees").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    assert names(read_folder(root), root) == ["ants/1.jpg", "bees/2.jpg"]


def test_read_folder_with_classes_that_differ_in_case_only_notes_them(tmp_path: Path):
    root = touch_files(tmp_path, "Cats/1.jpg", "cats/2.jpg", "dogs/3.jpg")
    if len(list(root.iterdir())) < 3:
        pytest.skip("this file system does not tell upper from lower case")
    assert read_folder(root).notes == [
        "Classes that differ in case only are learned as several: Cats and cats. If they are one, put their images "
        "into one folder."
    ]


def test_read_folder_with_files_of_other_kinds_notes_them_and_keeps_what_may_be_an_image(tmp_path: Path):
    root = touch_files(tmp_path, "ants/1.jpg", "ants/notes.txt", "bees/README", "bees/film.mov", "bees/photo.CR2")
    Image.new("RGB", (8, 8)).save(root / "ants" / "no ending", "PNG")
    Image.new("RGB", (8, 8)).save(root / "ants" / "odd.dat", "PNG")
    found = read_folder(root)
    assert names(found, root) == ["ants/1.jpg", "ants/no ending", "ants/odd.dat", "bees/photo.CR2"]
    others = ", ".join(f"{root}/{name}" for name in ("ants/notes.txt", "bees/README", "bees/film.mov"))
    assert found.notes == [f"Passed over {others}: no image files."]


@pytest.mark.parametrize(
    ("name", "split"), [("training", "train"), ("testing", "test"), ("trian", "train"), ("dev", "val")]
)
def test_find_splits_of_folders_called_almost_like_splits_refuses(tmp_path: Path, name: str, split: str):
    root = touch_files(tmp_path, f"{name}/cats/1.jpg", "other/cats/1.jpg")
    with pytest.raises(DataError, match=f"could be a class or a split: .* Call it {split}/ if it is a split"):
        splits_of(root)


def test_find_splits_of_a_class_called_almost_like_a_split_is_fine(tmp_path: Path):
    root = touch_files(tmp_path, "trains/1.jpg", "cars/1.jpg")
    assert splits_of(root) == ({"train": root}, [])


def test_find_splits_with_loose_files_notes_them(tmp_path: Path):
    root = touch_files(tmp_path, "ants/1.jpg", "bees/2.jpg", "3.jpg", "Thumbs.db")
    assert splits_of(root)[1] == [f"Passed over in {root}, in no class folder: 1 image."]
