"""DataLoaders whose order depends on (seed, epoch) alone."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch.utils.data import DataLoader, Sampler

from tl_toolkit.data.dataset import AugmentationKey, ImageDataset, InMemoryDataset
from tl_toolkit.data.workers import WorkerMonitor
from tl_toolkit.sampling.class_balance import occurrence_counts
from tl_toolkit.sampling.division import WHOLE, DealtBatches, DividedBatches, DividedKeys, Division, dealt
from tl_toolkit.sampling.order import epoch_order
from tl_toolkit.sampling.rng import seed_from
from tl_toolkit.system.cores import cores_to_use
from tl_toolkit.system.processes import world

IMAGES_PER_WORKER = 500
"""Fewer images are read before a worker process has started."""

COMPUTING_CORES = 2
"""Cores that the network keeps busy: on a machine with two, workers slow down the step as much as they help or more
(ResNet18 at 64 px: digits 244 images/s without and 152 with two, photographs 187 and 189)."""

MAX_WORKERS = 8


class KeyedShuffleSampler(Sampler[AugmentationKey]):
    """(epoch, index) of every sample, in an order drawn from (seed, epoch).

    Attributes:
        count: Number of samples.
        seed: Seed of the order.
        balance: Class index of each sample, to show all classes equally often; see `class_balanced_order`.
        shards: The shard of each sample, to read a few shards at a time; see `shard_order`.
        first: Place in the order where the next iteration begins.
    """

    def __init__(
        self, count: int, seed: int, balance: Sequence[int] | None = None, shards: Sequence[int] | None = None
    ) -> None:
        self.count = count
        self.seed = seed
        self.balance = None if balance is None else torch.tensor(balance)
        self.shards = None if shards is None else torch.as_tensor(shards)
        self.epoch = 0
        self.first = 0

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch of the next iteration; Accelerate calls it too."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[AugmentationKey]:
        generator = torch.Generator().manual_seed(seed_from(self.seed, self.epoch))
        order = epoch_order(self.count, generator, self.balance, self.shards)
        if self.balance is not None:
            order += occurrence_counts(order) * self.count  # An image has another augmentation each time.
        return iter([(self.epoch, index) for index in order[self.first :].tolist()])


class ResumableLoader:
    """A loader of shuffled batches that can start in the middle of an epoch.

    After a stop at any batch, training gets the samples that it would have got without the stop: the same ones, in the
    same order, with the same augmentation, for any number of worker processes. The order is drawn from (seed, epoch)
    and an augmentation from (seed, epoch, index), neither from what was drawn before. What is skipped is not read.

    Args:
        loader: The loader that Accelerate prepared.
        source: The loader that `train_loader` made.
    """

    def __init__(self, loader: Any, source: DataLoader[Any]) -> None:
        self.loader = loader
        self._sampler: Any = source.sampler
        self._batch_size = source.batch_size or 1

    def set_epoch(self, epoch: int, first: int = 0) -> None:
        """Set the epoch of the next iteration, and its first batch; earlier ones are not read."""
        self.loader.set_epoch(epoch)
        self._sampler.first = first * self._batch_size

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.loader)


class DividedLoader:
    """A loader of this process's shares of shuffled batches, which can start in the middle of an epoch.

    Args:
        loader: Its batches are the shares.
        sampler: Draws the images.
        batch_size: Images in a full batch.
    """

    def __init__(self, loader: DataLoader[Any], sampler: "KeyedShuffleSampler", batch_size: int) -> None:
        self.loader = loader
        self._sampler, self._batch_size = sampler, batch_size

    def set_epoch(self, epoch: int, first: int = 0) -> None:
        """Set the epoch of the next iteration, and its first batch; earlier ones are not read."""
        self._sampler.set_epoch(epoch)
        self._sampler.first = first * self._batch_size

    def __iter__(self) -> Iterator[Any]:
        return iter(self.loader)


def train_loader(
    dataset: ImageDataset | InMemoryDataset,
    batch_size: int,
    workers: int,
    drop_last: bool = False,
    balance: Sequence[int] | None = None,
    division: Division = WHOLE,
) -> DataLoader[Any] | DividedBatches:
    """Return shuffled and augmented batches, without a last batch of one image, which BatchNorm cannot learn from.

    Divided batches come as this process's shares of them.
    """
    shards = None if isinstance(dataset, InMemoryDataset) else dataset.samples.images.shards
    sampler = KeyedShuffleSampler(len(dataset), dataset.seed, balance, shards)
    drop_last = drop_last or (len(dataset) > batch_size and len(dataset) % batch_size == 1)
    if division.is_whole:
        return _loader(dataset, batch_size, workers, sampler, drop_last)
    batches = len(dataset) // batch_size if drop_last else -(-len(dataset) // batch_size)
    keys = DividedKeys(sampler, batch_size, batches, division)
    loader = _loader(dataset, None, workers, keys, drop_last=False)
    return DividedBatches(DividedLoader(loader, sampler, batch_size), len(dataset), batch_size, batches, division)


def eval_loader(dataset: ImageDataset | InMemoryDataset, batch_size: int, workers: int) -> DataLoader[Any]:
    """Return every sample once, in order, without augmentation."""
    return _loader(dataset, batch_size, workers, None, drop_last=False)


def dealt_eval_loader(
    dataset: ImageDataset | InMemoryDataset, batch_size: int, workers: int
) -> DataLoader[tuple[torch.Tensor, int]] | DealtBatches:
    """Return the batches of `eval_loader`, or of several processes those that this one computes."""
    if world().size == 1:
        return eval_loader(dataset, batch_size, workers)
    count = -(-len(dataset) // batch_size)
    firsts = [number * batch_size for number in dealt(count)]
    keys = [list(range(first, min(first + batch_size, len(dataset)))) for first in firsts]
    return DealtBatches(_loader(dataset, None, workers, keys, drop_last=False), count)


def view_loader(
    dataset: ImageDataset, order: Iterable[tuple[torch.Tensor, torch.Tensor]], workers: int
) -> DataLoader[Any]:
    """Return batches of images in views; `order` has the indices (N) and views (N) of each batch."""
    return DataLoader(
        dataset,
        batch_sampler=_ViewKeys(order),
        num_workers=workers,
        worker_init_fn=WorkerMonitor(dataset.samples.name, workers) if workers else None,
        pin_memory=torch.cuda.is_available(),
        generator=torch.Generator().manual_seed(dataset.seed),
    )


class _ViewKeys:
    """The keys of each batch: (view, index)."""

    def __init__(self, order: Iterable[tuple[torch.Tensor, torch.Tensor]]) -> None:
        self.order = order

    def __iter__(self) -> Iterator[list[AugmentationKey]]:
        return (list(zip(view.tolist(), picked.tolist(), strict=True)) for picked, view in self.order)


def default_num_workers(images: int) -> int:
    """Return the number of workers: none for few images or on few cores, else one for each spare core."""
    return max(0, min(cores_to_use() - COMPUTING_CORES, MAX_WORKERS, images // IMAGES_PER_WORKER))


def _loader(
    dataset: ImageDataset | InMemoryDataset,
    batch_size: int | None,
    workers: int,
    sampler: Iterable[Any] | None,
    drop_last: bool,
) -> DataLoader[Any]:
    """Return a loader of a sampler's keys, or, without a batch size, of its lists of keys."""
    name = None if isinstance(dataset, InMemoryDataset) else dataset.samples.name
    order: dict[str, Any] = {"batch_size": batch_size, "sampler": sampler, "drop_last": drop_last}
    if batch_size is None:
        order = {"batch_sampler": sampler}
    workers = workers if name else 0  # Selecting rows in memory is quicker than sending them from a process.
    return DataLoader(
        dataset,
        **order,
        num_workers=workers,
        worker_init_fn=WorkerMonitor(name, workers) if name and workers else None,
        collate_fn=None if name else keep_batch,
        persistent_workers=workers > 0,
        pin_memory=torch.cuda.is_available(),
        # The loader draws a seed at every epoch; with its own generator it leaves torch's alone.
        generator=torch.Generator().manual_seed(dataset.seed),
    )


def keep_batch(batch: Any) -> Any:
    """Collate what is a batch already."""
    return batch
