import io
import itertools

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from tests.helpers.images import scene
from tl_toolkit.data.quality import near_duplicates
from tl_toolkit.data.quality.near_duplicates import DISTANCE, near_pairs, perceptual_hash


def compressed(image: Image.Image) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=30)
    return Image.open(file).convert("RGB")


def pairs_of(images: list[Image.Image]) -> list[tuple[int, int]]:
    prints = [seen for image in images if (seen := perceptual_hash(image))]
    hashes = np.array([each.hash for each in prints], np.uint64)
    return sorted(near_pairs(hashes, np.stack([each.thumbnail for each in prints])))


def test_near_pairs_finds_an_image_that_was_edited():
    edited = [
        compressed(scene(0)),
        scene(0).resize((100, 75)),
        ImageEnhance.Brightness(scene(0)).enhance(1.1),
        ImageEnhance.Contrast(scene(0)).enhance(0.9),
        scene(0).crop((3, 2, 237, 178)),
    ]
    assert pairs_of([scene(0), *edited, scene(1), scene(2)]) == list(itertools.combinations(range(6), 2))


def test_near_pairs_tells_other_colours_and_mirror_images_apart():
    red, green, blue = scene(0).split()
    others = [Image.merge("RGB", (blue, red, green)), scene(0).transpose(Image.Transpose.FLIP_LEFT_RIGHT)]
    assert pairs_of([scene(0), *others]) == []


def test_fingerprint_of_a_small_image_is_none():
    assert perceptual_hash(scene(0).resize((100, 31))) is None
    assert perceptual_hash(scene(0).resize((100, 32))) is not None


def test_near_pairs_of_blank_images_passes_over_their_noise():
    noise = np.random.default_rng(0).integers(252, 256, (2, 64, 64, 3), np.uint8)
    assert pairs_of([Image.fromarray(pixels) for pixels in noise] + [scene(1)]) == [(0, 1)]


@pytest.mark.parametrize("block", [4, 1024])
def test_close_hashes_are_those_that_comparing_all_finds(monkeypatch: pytest.MonkeyPatch, block: int):
    monkeypatch.setattr(near_duplicates, "BLOCK", block)
    random = np.random.default_rng(0)
    hashes = random.integers(0, 2**64, 40, np.uint64)
    flips = [random.choice(64, size=count, replace=False) for count in range(1, 12)]
    near = [hashes[0] ^ np.bitwise_or.reduce(np.uint64(1) << flip.astype(np.uint64)) for flip in flips]
    hashes = np.concatenate([hashes, np.array(near), hashes[:3]])
    expected = [
        pair
        for pair in itertools.combinations(range(len(hashes)), 2)
        if (int(hashes[pair[0]]) ^ int(hashes[pair[1]])).bit_count() <= DISTANCE
    ]
    found = [tuple(sorted(pair)) for pairs in near_duplicates._close_hashes(hashes) for pair in pairs.tolist()]
    assert sorted(found) == expected
    assert len(expected) > 10
