"""Small pictures of images: whatever the images are, the right one, upright, and within bounds."""

import io
import math
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.corpus import Kind
from tests.helpers.folders import copy_digits
from tl_toolkit.data.fingerprints import content_fingerprints
from tl_toolkit.data.image_sets import ArrayImages, DatasetImages, FileImages
from tl_toolkit.data.samples import Samples
from tl_toolkit.report.pictures import CHANGED, NOT_FOUND, SIDE, UNREADABLE, FoundImages, Pictures, shrink


def all_of(images: FoundImages, max_bytes: int = 2**22, seconds: float = math.inf) -> Pictures:
    pictures = Pictures({"test": images}, 3, max_bytes, seconds)
    pictures.read(("test", index) for index in range(len(images.places)))
    return pictures


def decoded(picture: bytes | None) -> Image.Image:
    assert picture is not None
    return Image.open(io.BytesIO(picture))


def colours(count: int) -> list[Image.Image]:
    return [Image.new("RGB", (200, 120), (20 * index, 255 - 20 * index, 0)) for index in range(count)]


@pytest.mark.parametrize(
    ("size", "expected"),
    [((960, 480), (192, 96)), ((480, 960), (96, 192)), ((8, 8), (8, 8)), ((5_000, 10), (20, 10)), ((97, 96), (97, 96))],
)
def test_shrink_keeps_the_short_side_and_crops_what_is_very_long(size: tuple[int, int], expected: tuple[int, int]):
    assert shrink(Image.new("RGB", size)).size == expected


def test_pictures_show_each_image_for_itself():
    images = colours(10)
    pictures = all_of(FoundImages.all_of(Samples(ArrayImages(images), [0] * 10)))
    for index, image in enumerate(images):
        found = decoded(pictures.get("test", index)).convert("RGB")
        assert min(found.size) == SIDE
        assert np.abs(np.subtract(found.getpixel((50, 50)), image.getpixel((50, 50)))).max() < 12
    assert not pictures.problems
    assert pictures.get("test", 10) is None
    assert pictures.get("val", 0) is None


def test_picture_of_a_photo_on_its_side_is_upright(tmp_path: Path):
    image = Image.new("RGB", (300, 200), "red")
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / "side.jpg", exif=exif)
    pictures = all_of(FoundImages.all_of(Samples(FileImages([str(tmp_path / "side.jpg")]), [0])))
    width, height = decoded(pictures.get("test", 0)).size
    assert (width, height) == (SIDE, round(SIDE * 1.5))


def test_pictures_of_every_kind_of_file_are_small_or_told(corpus: dict[str, Kind]):
    paths = sorted(corpus)
    pictures = all_of(FoundImages.all_of(Samples(FileImages(paths), [0] * len(paths))))
    shown = [index for index in range(len(paths)) if pictures.get("test", index)]
    assert shown
    assert len(shown) + pictures.problems[UNREADABLE] == len(paths)
    assert max(max(decoded(pictures.get("test", index)).size) for index in shown) <= 2 * SIDE


def test_pictures_of_a_dataset_are_read_in_order_in_this_thread():
    class Dataset:
        def __len__(self) -> int:
            return 5

        def __getitem__(self, index: int) -> tuple[Image.Image, int]:
            if index == 2:
                raise ValueError("broken")
            return colours(5)[index], 0

    pictures = all_of(FoundImages.all_of(Samples(DatasetImages(Dataset(), deterministic=True), [0] * 5)))
    assert [pictures.get("test", index) is not None for index in range(5)] == [True, True, False, True, True]
    assert pictures.problems == {UNREADABLE: 1}


def test_changed_and_missing_files_are_told_and_never_shown(tmp_path: Path):
    paths = sorted(str(path) for path in copy_digits(tmp_path / "photos", ["0"], 5).rglob("*.png"))
    samples = Samples(FileImages(paths), [0] * 5)
    contents = content_fingerprints(samples)
    Path(paths[1]).write_bytes(Path(paths[0]).read_bytes())
    Path(paths[2]).unlink()
    pictures = all_of(FoundImages(samples, [0, 1, 2, 3, None], contents))
    assert [pictures.get("test", index) is not None for index in range(5)] == [True, False, False, True, False]
    assert pictures.problems == {CHANGED: 1, UNREADABLE: 1, NOT_FOUND: 1}


def test_picture_that_may_be_any_of_a_split_must_be_one_of_it():
    samples = Samples(ArrayImages(colours(3)), [0] * 3)
    known = frozenset(each for each in content_fingerprints(samples)[:2] if each)
    pictures = all_of(FoundImages(samples, range(3), known=known))
    assert [pictures.get("test", index) is not None for index in range(3)] == [True, True, False]
    assert pictures.problems == {CHANGED: 1}


def test_pictures_stop_at_their_bytes_and_count_the_rest():
    random = np.random.default_rng(0)
    noise = [random.integers(0, 255, (96, 96, 3), dtype=np.uint8) for _ in range(100)]
    pictures = all_of(FoundImages.all_of(Samples(ArrayImages(noise), [0] * 100)), max_bytes=50_000)
    shown = [picture for index in range(100) if (picture := pictures.get("test", index))]
    assert 0 < sum(map(len, shown)) <= 50_000
    assert len(shown) + pictures.no_room == 100


def test_pictures_after_their_time_are_left_out():
    samples = Samples(ArrayImages(colours(40)), [0] * 40)
    pictures = all_of(FoundImages.all_of(samples), seconds=time.monotonic() - 1)
    assert pictures.no_time == 40
    assert pictures.get("test", 0) is None
