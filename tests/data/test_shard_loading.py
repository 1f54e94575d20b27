"""Loading images in shards: each once an epoch, in the same order for any number of processes and workers."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader

from tests.helpers.shards import write_shards
from tl_toolkit.data.dataset import AugmentationKey, ImageDataset
from tl_toolkit.data.loaders import KeyedShuffleSampler, ResumableLoader, train_loader
from tl_toolkit.data.samples import Samples
from tl_toolkit.data.sources.base import open_source
from tl_toolkit.data.tar_images import TarImages
from tl_toolkit.data.transforms import StrongAugmentation
from tl_toolkit.features.batches import ViewBatchSampler
from tl_toolkit.input_spec import InputSpec
from tl_toolkit.sampling import order

BATCH = 12
SPEC = InputSpec(height=8, width=8)


@pytest.fixture
def samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Samples:
    """Images in shards that are read a few at a time; the target of each is its number."""
    monkeypatch.setattr(order, "BUFFER_SAMPLES", 1)
    monkeypatch.setattr(order, "BUFFER_SHARDS", 2)
    images = open_source(str(write_shards(tmp_path / "pets", 10, 7))).split("train").images
    assert isinstance(images, TarImages)
    images.by_shard = True
    return Samples(images, range(70))


def dataset(samples: Samples) -> ImageDataset:
    return ImageDataset(samples, StrongAugmentation(SPEC, allow_hflip=True), seed=3)


class Slices:
    """The part of each global batch that a process takes."""

    def __init__(self, sampler: KeyedShuffleSampler, processes: int, rank: int) -> None:
        self.sampler, self.processes, self.rank = sampler, processes, rank

    def __iter__(self) -> Iterator[list[AugmentationKey]]:
        keys = list(self.sampler)
        for start in range(0, len(keys), BATCH):
            batch = keys[start : start + BATCH]
            first, last = (len(batch) * rank // self.processes for rank in (self.rank, self.rank + 1))
            yield batch[first:last]


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # More workers than this machine has cores.
@pytest.mark.parametrize("workers", [0, 1, 2, 3])
@pytest.mark.parametrize("processes", [1, 2, 3])
def test_each_image_comes_once_an_epoch_in_the_same_batches(samples: Samples, processes: int, workers: int):
    data = dataset(samples)
    expected = [index for _, index in KeyedShuffleSampler(70, 3, shards=samples.images.shards)]
    loaders = []
    for rank in range(processes):
        sampler = KeyedShuffleSampler(70, 3, shards=samples.images.shards)
        loaders.append(DataLoader(data, batch_sampler=Slices(sampler, processes, rank), num_workers=workers))
    targets: list[int] = []
    for parts in zip(*loaders, strict=True):
        for pixels, numbers in parts:
            targets += numbers.tolist()
            assert all(
                torch.equal(image, data[0, number][0]) for image, number in zip(pixels, numbers.tolist(), strict=True)
            )
    assert targets == expected
    assert sorted(targets) == list(range(70))


def test_train_loader_reads_a_few_shards_at_a_time(samples: Samples):
    shards = torch.tensor(samples.images.shards)
    loader = train_loader(dataset(samples), 7, 0)
    in_use = [len(set(shards[targets].tolist())) for _, targets in loader]
    assert max(in_use) <= 5
    samples.images.by_shard = False  # type: ignore[attr-defined]
    in_use = [len(set(shards[targets].tolist())) for _, targets in train_loader(dataset(samples), 7, 0)]
    assert max(in_use) >= 5
    assert sum(in_use) > 45


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("first", [1, 4])
def test_resumed_epoch_gives_the_rest_and_reads_nothing_before(
    samples: Samples, workers: int, first: int, monkeypatch: pytest.MonkeyPatch
):
    def batches(start: int) -> list[torch.Tensor]:
        source = train_loader(dataset(samples), BATCH, workers)
        loader = ResumableLoader(_Prepared(source), source)
        loader.set_epoch(2, start)
        return [pixels for pixels, _ in loader]

    whole = batches(0)
    read: list[int] = []
    real = TarImages.read
    monkeypatch.setattr(TarImages, "read", lambda self, index: (read.append(index), real(self, index))[1])
    rest = batches(first)
    assert len(rest) == len(whole) - first
    assert all(torch.equal(one, two) for one, two in zip(rest, whole[first:], strict=True))
    if not workers:
        assert len(read) == 70 - first * BATCH


class _Prepared:
    """What Accelerate makes of a loader, as far as these tests need it."""

    def __init__(self, loader: DataLoader[object]) -> None:
        self.loader = loader

    def set_epoch(self, epoch: int) -> None:
        self.loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]

    def __iter__(self) -> Iterator[object]:
        return iter(self.loader)


def test_views_of_images_are_drawn_by_shard_if_their_features_are_not_stored(samples: Samples):
    batches = ViewBatchSampler(70, 2, 7, 3)
    stored = torch.cat([picked for picked, _ in batches])
    batches.read_by_shard(samples.images.shards)
    batches.set_epoch(0)
    picked = torch.cat([picked for picked, _ in batches])
    assert sorted(picked.tolist()) == sorted(stored.tolist()) == list(range(70))
    shards = torch.tensor(samples.images.shards)
    assert max(len(set(shards[part].tolist())) for part in picked.split(7)) <= 5
    batches.set_epoch(0, first=3)
    assert torch.equal(torch.cat([picked for picked, _ in batches]), picked[21:])
