"""Streaming: images that can only be read in order, shard by shard, shuffled and resumed exactly.

Training resumes exactly if, after a stop at any sample of an epoch, it gets the samples that it would have got without
the stop: the same ones, in the same order, with the same augmentation, for any number of worker processes. Both forms
of a dataset ensure this, because their randomness depends on keys and not on what was drawn before:

- Random access (`ImageDataset`, `ResumableLoader`): the order is a permutation drawn from (seed, epoch), an
  augmentation is drawn from (seed, epoch, index). Resuming reads nothing of what it skips.
- Streaming (`StreamDataset`, `StreamLoader`): the order of the shards is drawn from (seed, epoch), the shuffling in a
  bounded buffer from (seed, epoch, lane), an augmentation from (seed, epoch, number of the sample). Resuming reads what
  it skips, but decodes less than a round of it, or more once lanes have ended (see `StreamDataset`).
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import chain, count, islice
from typing import Any, Protocol, TypeVar

import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from tl_toolkit.data.dataset import BatchTransform, transform_batch
from tl_toolkit.data.images import ImageLike, open_image
from tl_toolkit.data.loaders import keep_batch
from tl_toolkit.data.transforms import keyed_random
from tl_toolkit.data.workers import WorkerMonitor, note_image
from tl_toolkit.sampling.rng import keyed_uniform, seed_from

Sample = TypeVar("Sample")
Batch = tuple[torch.Tensor, torch.Tensor]
"""Pixels (N, C, H, W) and targets (N)."""


class ShardedImages(Protocol):
    """Images and their targets in shards of any size, such as tar files or row groups of a table."""

    num_shards: int

    def read_shard(self, shard: int) -> Iterable[tuple[ImageLike, int]]:
        """Yield (image, target) of every sample of a shard, in the same order each time.

        An image should not be decoded yet: a path, or a PIL image that is opened but not loaded.
        """


class StreamDataset(IterableDataset[int | Batch]):
    """Decoded, transformed and shuffled samples of shards, read by any number of workers.

    The shards of an epoch, in random order, are dealt out to lanes. Each lane is a stream of its own: its samples pass
    through a bounded buffer that shuffles them. A round is the next block of samples of every lane that has some left,
    and an epoch is one round after the other. A worker reads some of the lanes, and only their shards. As lanes and
    rounds are the same for any number of workers, so is the order of the samples.

    A sample's number is made of its lane and its place in the lane; the augmentation depends on (seed, epoch, number).

    Args:
        source: The shards.
        transform: As in `ImageDataset`.
        channels: Channels to decode.
        seed: Seed of order and augmentation.
        batch_transform: Comes after `transform`.
        min_size: Height and width that are enough for the transform; see `open_image`.
        lanes: More lanes allow for more workers. Another number gives another order.
        block_size: Samples of a lane in a round.
        buffer_size: Samples that the buffer of a lane holds.
    """

    def __init__(
        self,
        source: ShardedImages,
        transform: Callable[..., torch.Tensor],
        channels: int = 3,
        seed: int = 0,
        batch_transform: BatchTransform | None = None,
        min_size: int = 0,
        *,
        lanes: int = 8,
        block_size: int = 8,
        buffer_size: int = 1000,
    ) -> None:
        self.source = source
        self.transform = transform
        self.channels = channels
        self.seed = seed
        self.batch_transform = batch_transform
        self.min_size = min_size
        self.lanes = lanes
        self.block_size = block_size
        self.buffer_size = buffer_size
        self.epoch = 0
        self.first_round = 0

    def __iter__(self) -> Iterator[int | Batch]:
        """Yield the number of samples before the first round in this worker's lanes, then each round's samples."""
        info = get_worker_info()
        worker, workers = (info.id, info.num_workers) if info else (0, 1)
        own = range(worker * self.lanes // workers, (worker + 1) * self.lanes // workers)
        streams = [self._numbered(lane) for lane in own]
        yield sum(1 for stream in streams for _ in islice(stream, self.first_round * self.block_size))
        while samples := [sample for stream in streams for sample in islice(stream, self.block_size)]:
            yield self._decode(samples)

    def name(self, number: int) -> str:
        """Return what messages call a sample."""
        return f"sample {number // self.lanes} of lane {number % self.lanes} in epoch {self.epoch}"

    def _numbered(self, lane: int) -> Iterator[tuple[int, ImageLike, int]]:
        """Yield (number, image, target) of the samples of a lane."""
        generator = torch.Generator().manual_seed(seed_from(self.seed, self.epoch))
        shards = torch.randperm(self.source.num_shards, generator=generator)[lane :: self.lanes].tolist()
        samples = chain.from_iterable(map(self.source.read_shard, shards))
        shuffled = shuffle(samples, self.buffer_size, (self.seed, self.epoch, lane))
        return ((place * self.lanes + lane, image, target) for place, (image, target) in enumerate(shuffled))

    def _decode(self, samples: list[tuple[int, ImageLike, int]]) -> Batch:
        numbers, images, targets = zip(*samples, strict=True)
        pixels = torch.stack([self._pixels(number, image) for number, image in zip(numbers, images, strict=True)])
        if self.batch_transform:
            pixels = transform_batch(self.batch_transform, pixels, (self.seed, self.epoch), numbers)
        return pixels, torch.tensor(targets)

    def _pixels(self, number: int, source: ImageLike) -> torch.Tensor:
        note_image(number)
        image = open_image(source, self.channels, self.name(number), self.min_size)
        draws = keyed_uniform((self.seed, self.epoch), [number], getattr(self.transform, "NUM_RANDOM", 0))
        with keyed_random(self.seed, self.epoch, number):  # A transform may also draw from torch's own generator.
            pixels = self.transform(image, draws[0]) if draws.size else self.transform(image)
        note_image(None)
        return pixels


def shuffle(samples: Iterable[Sample], size: int, key: tuple[int, ...]) -> Iterator[Sample]:
    """Yield samples in an order drawn from `key`, holding at most `size` of them."""
    buffer: list[Sample] = []
    draws = (float(keyed_uniform(key, [number], 1)[0, 0]) for number in count())
    for sample in samples:
        if len(buffer) == size:
            yield _take(buffer, next(draws))
        buffer.append(sample)
    while buffer:
        yield _take(buffer, next(draws))


def _take(buffer: list[Sample], draw: float) -> Sample:
    place = int(draw * len(buffer))
    buffer[place], buffer[-1] = buffer[-1], buffer[place]
    return buffer.pop()


class StreamLoader:
    """Batches of a `StreamDataset`, from any position on.

    Attributes:
        dataset: The samples.
        batch_size: Samples of a batch; the last one of an epoch may be smaller.
        workers: Processes that read and decode; 0 for none.
        epoch: The epoch of the next batch.
        consumed: Samples of the epoch that batches have given. (epoch, consumed) is all that resuming needs.
    """

    def __init__(self, dataset: StreamDataset, batch_size: int, workers: int = 0) -> None:
        self.dataset = dataset
        self.batch_size = batch_size
        self.workers = workers
        self.epoch = self.consumed = 0

    def seek(self, epoch: int, consumed: int = 0) -> None:
        """Set the position where the next iteration starts."""
        self.epoch, self.consumed = epoch, consumed

    def __iter__(self) -> Iterator[Batch]:
        """Yield the batches of the rest of the epoch; the next iteration is that of the next epoch."""
        rounds = self._rounds()
        samples = (sample for pixels, targets in rounds for sample in zip(pixels, targets, strict=True))
        while batch := list(islice(samples, self.batch_size)):
            self.consumed += len(batch)
            images, targets = zip(*batch, strict=True)
            yield torch.stack(images), torch.stack(targets)
        self.seek(self.epoch + 1)

    def _rounds(self) -> Iterator[Any]:
        """Yield the samples from the position on, in parts of any size."""
        dataset = self.dataset
        # Lanes that ended before this round have fewer samples than it assumes; what is left over is dropped below.
        dataset.epoch, dataset.first_round = self.epoch, self.consumed // (dataset.lanes * dataset.block_size)
        loader: DataLoader[Any] = DataLoader(
            dataset,
            batch_size=None,
            num_workers=self.workers,
            worker_init_fn=WorkerMonitor(dataset.name, self.workers) if self.workers else None,
            collate_fn=keep_batch,
            generator=torch.Generator().manual_seed(dataset.seed),
        )
        parts = iter(loader)
        excess = self.consumed - sum(islice(parts, max(1, self.workers)))
        for pixels, targets in parts:
            dropped = min(excess, len(targets))
            excess -= dropped
            yield pixels[dropped:], targets[dropped:]
