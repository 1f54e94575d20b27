import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tl_toolkit.data.image_sets import FileImages
from tl_toolkit.data.quality import duplicates
from tl_toolkit.data.quality.duplicates import DuplicateGroups, find_duplicates, with_content_hashes
from tl_toolkit.data.quality.readability import check_splits
from tl_toolkit.data.samples import Samples
from tl_toolkit.data.sources.base import open_source


def copies_in(data: object) -> DuplicateGroups:
    return find_duplicates(with_content_hashes(open_source(data).splits))


def names(groups: list[list[duplicates.DuplicateImage]]) -> list[list[str]]:
    return [[f"{copy.split}/{Path(copy.name).name}" for copy in group] for group in groups]


@pytest.fixture
def noise(tmp_path: Path) -> Path:
    """Uncompressed images, all of one size in bytes, with copies in another split, in another class and in the same."""
    for number, place in enumerate(["train/a/1", "train/a/2", "train/b/3", "test/a/4", "test/b/5"]):
        path = tmp_path / f"{place}.bmp"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 256, (50, 50, 3), np.uint8)
        pixels[:30] = 0  # A file of that kind ends with its first rows.
        Image.fromarray(pixels).save(path)
    shutil.copy(tmp_path / "train/a/1.bmp", tmp_path / "train/a/1 again.bmp")
    shutil.copy(tmp_path / "train/a/2.bmp", tmp_path / "train/b/2 too.bmp")
    shutil.copy(tmp_path / "train/b/3.bmp", tmp_path / "test/b/3.bmp")
    return tmp_path


def test_find_copies_tells_leaks_conflicts_and_repeats(noise: Path):
    found = copies_in(noise)
    assert names(found.leaks) == [["train/3.bmp", "test/3.bmp"]]
    assert names(found.conflicts) == [["train/2.bmp", "train/2 too.bmp"]]
    assert names(found.repeats) == [["train/1 again.bmp", "train/1.bmp"]]
    assert len(found.groups) == 3


def test_find_copies_of_files_that_differ_in_the_middle_alone_finds_none(tmp_path: Path):
    for name, middle in (("1", b"a"), ("2", b"b")):
        path = tmp_path / name / "image.png"
        path.parent.mkdir()
        path.write_bytes(b"same beginning" + middle + b"same end" * duplicates.TAIL_BYTES)
    assert copies_in(tmp_path).groups == []


def test_compared_opens_no_file_whose_size_is_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    opened: list[str] = []
    real = duplicates._tail
    monkeypatch.setattr(duplicates, "_tail", lambda path: opened.append(Path(path).name) or real(path))
    for name, size in (("1.jpg", 7), ("2.jpg", 9), ("3.jpg", 9), ("4.jpg", 5000)):
        (tmp_path / "a").mkdir(exist_ok=True)
        (tmp_path / "a" / name).write_bytes(name[:1].encode() * size)
    with_content_hashes(open_source(tmp_path).splits)
    assert sorted(opened) == ["2.jpg", "3.jpg"]


def test_find_copies_of_pixels_looks_at_type_and_shape_too():
    ones = np.ones((4, 6), np.uint8)
    images = [ones, ones.reshape(6, 4), ones.astype(bool), ones.copy(), Image.fromarray(ones), Image.fromarray(ones)]
    found = copies_in((images, [0, 0, 0, 1, 1, 1]))
    assert [[copy.index for copy in group] for group in found.groups] == [[0, 3], [4, 5]]


def test_find_copies_of_a_dataset_knows_what_was_read():
    class Dataset:
        targets = (0, 0, 1, 1)

        def __len__(self) -> int:
            return 4

        def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
            return np.full((8, 8), index % 3, np.uint8), self.targets[index]

    splits = open_source(Dataset()).splits
    assert find_duplicates(with_content_hashes(splits)).groups == []
    check_splits(splits, lambda event: None)
    readable = {"train": splits["train"].subset([3, 1, 0])}
    assert [[copy.name for copy in group] for group in find_duplicates(with_content_hashes(readable)).groups] == [
        ["image 3", "image 0"]
    ]


def test_compared_of_files_that_are_gone_says_nothing_of_them():
    splits = with_content_hashes({"train": Samples(FileImages(["gone/1.png", "gone/2.png"]), [0, 0])})
    assert splits["train"].contents == [None, None]


def test_subset_keeps_the_contents(noise: Path):
    train = with_content_hashes(open_source(noise).splits)["train"]
    assert train.subset([4, 0]).contents == [train.contents[4], train.contents[0]]
