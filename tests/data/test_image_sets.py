"""Sets of images: what they call an image, and what tells whether it is still the same."""

import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tl_toolkit.data.image_sets import ArrayImages, DatasetImages, FileImages, ImageSet, listed_images
from tl_toolkit.data.images import fingerprint_image
from tl_toolkit.data.samples import Samples

PIXELS = [np.full((8, 8), value, np.uint8) for value in range(4)]


class Dataset:
    """A map-style dataset that counts how often it is read."""

    def __init__(self) -> None:
        self.read: list[int] = []

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        self.read.append(index)
        return PIXELS[index], 0


@pytest.fixture
def paths(tmp_path: Path) -> list[str]:
    for value, pixels in enumerate(PIXELS):
        Image.fromarray(pixels).save(tmp_path / f"{value}.png")
    return [str(tmp_path / f"{value}.png") for value in range(4)]


def values(images: ImageSet) -> list[int]:
    samples = Samples(images, [0] * len(images))
    return [samples.open(index, 1).getpixel((0, 0)) for index in range(len(samples))]


def test_every_set_and_its_subset_read_the_same_images(paths: list[str]):
    for images in (FileImages(paths), ArrayImages(PIXELS), DatasetImages(Dataset())):
        assert values(images) == [0, 1, 2, 3]
        assert values(images.subset([3, 1, 0])) == [3, 1, 0]
        assert values(images.subset([3, 1, 0]).subset([2, 0])) == [0, 3]
        assert values(images.subset([1]) + images.subset([2, 0])) == [1, 2, 0]


def test_files_are_named_by_path_pixels_by_their_place_and_items_by_their_index(paths: list[str]):
    def names(images: ImageSet) -> list[str]:
        return [images.name(index) for index in range(len(images))]

    indices = [3, 1, 0]
    assert names(FileImages(paths).subset(indices)) == [paths[index] for index in indices]
    assert names(ArrayImages(PIXELS).subset(indices)) == ["image 0", "image 1", "image 2"]
    items = DatasetImages(Dataset()).subset(indices)
    assert names(items) == ["image 3", "image 1", "image 0"]
    assert names(items.subset([2, 1])) == ["image 2", "image 1"]


def test_fingerprints_are_those_of_the_files_and_pixels_and_none_of_items(paths: list[str]):
    mixed = listed_images([paths[1], PIXELS[2]])
    assert [mixed.fingerprint(0), mixed.fingerprint(1)] == [fingerprint_image(paths[1]), fingerprint_image(PIXELS[2])]
    together = FileImages(paths).subset([1]) + ArrayImages(PIXELS).subset([2])
    assert Samples(together, [0, 0]).identities() == [mixed.fingerprint(0), mixed.fingerprint(1)]
    assert Samples(DatasetImages(Dataset(), deterministic=True), [0] * 4).identities() == [None] * 4


def test_content_hash_of_an_item_is_known_once_it_was_read_and_reads_nothing():
    dataset = Dataset()
    images = DatasetImages(dataset).subset([2, 1])
    assert (images.content_hash(0), dataset.read) == (None, [])
    images.read(0)
    assert images.content_hash(0) == fingerprint_image(PIXELS[2])
    assert (images.content_hash(1), dataset.read) == (None, [2])


def test_only_sets_of_files_alone_are_encoded(paths: list[str]):
    assert listed_images(paths).subset([0]).are_encoded
    assert (FileImages(paths) + FileImages(paths)).are_encoded
    for images in ([paths[0], PIXELS[0]], PIXELS):
        assert not listed_images(images).are_encoded


def test_files_are_as_small_as_their_paths_for_another_process(paths: list[str]):
    many = paths * 1000
    assert len(pickle.dumps(FileImages(many))) < len(pickle.dumps(many)) + 200
