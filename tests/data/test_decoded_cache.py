"""Decoded images that stay in memory."""

from pathlib import Path

import pytest
import torch
from PIL import Image

from tests.helpers.folders import copy_digits
from tl_toolkit.data.dataset import ImageDataset
from tl_toolkit.data.decoded_cache import DecodedImageCache
from tl_toolkit.data.samples import Samples
from tl_toolkit.data.sources.base import open_source
from tl_toolkit.data.transforms import train_transform
from tl_toolkit.input_spec import InputSpec

SPEC = InputSpec(height=16, width=16)


@pytest.fixture
def samples(tmp_path: Path) -> Samples:
    """Six image files."""
    copy_digits(tmp_path, ["0", "1"], 3)
    return open_source(str(tmp_path)).splits["train"]


def batches(samples: Samples, held: DecodedImageCache | None, epochs: int) -> list[torch.Tensor]:
    transform = train_transform(SPEC, "strong", allow_hflip=True)
    dataset = ImageDataset(samples, transform, decoded=held)
    every = range(len(samples))
    return [torch.stack([x for x, _ in dataset.__getitems__([(epoch, i) for i in every])]) for epoch in range(epochs)]


def count_decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The index of every image that is decoded from here on."""
    decoded: list[int] = []
    real = Samples.open

    def noted(self: Samples, index: int, *arguments: int) -> Image.Image:
        decoded.append(index)
        return real(self, index, *arguments)

    monkeypatch.setattr(Samples, "open", noted)
    return decoded


def test_dataset_that_holds_images_decodes_each_once_and_gives_the_same(
    samples: Samples, monkeypatch: pytest.MonkeyPatch
):
    expected = batches(samples, None, 3)
    decoded = count_decoded(monkeypatch)
    given = batches(samples, DecodedImageCache(10**6), 3)
    assert sorted(decoded) == list(range(6))
    assert all(torch.equal(one, other) for one, other in zip(given, expected, strict=True))


def test_held_images_take_no_more_than_their_bound(samples: Samples, monkeypatch: pytest.MonkeyPatch):
    image = samples.open(0, 3)
    two = DecodedImageCache(2 * image.width * image.height * 4)
    expected = batches(samples, None, 2)
    decoded = count_decoded(monkeypatch)
    given = batches(samples, two, 2)
    assert len(decoded) == 6 + 4
    assert all(torch.equal(one, other) for one, other in zip(given, expected, strict=True))
    assert sum(two.get(index) is not None for index in range(6)) == 2
