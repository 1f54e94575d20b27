"""Batches of frozen features: the output of a network's frozen prefix, in place of images."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch

from tl_toolkit.io.row_cache import Rows
from tl_toolkit.sampling.division import DividedBatches, DividedOrder
from tl_toolkit.sampling.order import epoch_order
from tl_toolkit.sampling.rng import seed_from
from tl_toolkit.system.processes import gather
from tl_toolkit.training.evaluation import Batches

PROBE_BATCH = 256
"""Batch size of a head alone: smaller batches give a Linear too little work."""


@dataclass(frozen=True)
class Features:
    """The features of the images of a split.

    Attributes:
        views: The rows of each view.
        targets: Class indices (N).
    """

    views: Sequence[Rows]
    targets: torch.Tensor


class ViewBatchSampler:
    """Draws the images of each batch, and one of the views of each image, from (seed, epoch) alone.

    Args:
        count: Number of images.
        views: Number of views.
        batch_size: Images in a batch; a last batch of one image, from which BatchNorm cannot learn, is left out.
        seed: Seed of the order and the views.
        drop_last: Leave out any smaller last batch.
        balance: Class index of each image, to show every class equally often; see `class_balanced_order`.
    """

    def __init__(
        self,
        count: int,
        views: int,
        batch_size: int,
        seed: int,
        drop_last: bool = False,
        balance: Sequence[int] | None = None,
    ) -> None:
        self.count = count
        self.views = views
        self.batch_size = batch_size
        self.seed = seed
        last_is_single = count > batch_size and count % batch_size == 1
        self._batches = count // batch_size if drop_last or last_is_single else -(-count // batch_size)
        self.balance = None if balance is None else torch.tensor(balance)
        self.epoch = self.first = 0
        self.shards: torch.Tensor | None = None

    def read_by_shard(self, shards: Sequence[int] | None) -> None:
        """Draw an order that reads a few shards at a time, for images whose features are not stored."""
        self.shards = None if shards is None else torch.as_tensor(shards)

    def set_epoch(self, epoch: int, first: int = 0) -> None:
        """Set the epoch of the next iteration, and its first batch."""
        self.epoch, self.first = epoch, first

    def __len__(self) -> int:
        return self._batches

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield indices (N) and views (N) of each batch."""
        generator = torch.Generator().manual_seed(seed_from(self.seed, self.epoch))
        order = epoch_order(self.count, generator, self.balance, self.shards)
        views = torch.randint(self.views, (self.count,), generator=generator)
        if self.balance is None:  # Else an image may come several times, each time in a view of its own.
            views = views[order]
        for batch in range(self.first, self._batches):
            here = slice(batch * self.batch_size, (batch + 1) * self.batch_size)
            yield order[here], views[here]


class FeatureBatches:
    """Shuffled batches of stored features.

    Args:
        features: The features to train on.
        order: Draws the batches.
        device: Where the batches go.
    """

    def __init__(self, features: Features, order: ViewBatchSampler | DividedOrder, device: torch.device) -> None:
        self.features = features
        self.order = order
        self.device = device

    def set_epoch(self, epoch: int, first: int = 0) -> None:
        """Set the epoch of the next iteration, and its first batch."""
        self.order.set_epoch(epoch, first)

    def __len__(self) -> int:
        return len(self.order)

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        views, targets = self.features.views, self.features.targets
        for picked, view in self.order:
            rows = views[0].take(picked)
            for index in range(1, len(views)):
                here = view == index
                rows[here] = views[index].take(picked[here])
            yield rows.to(self.device), targets[picked].to(self.device)


class UncachedFeatures:
    """Batches of features that are not stored, but computed in every epoch.

    Args:
        loader: Batches of images.
        compute: Returns the features of a batch of the loader.
        order: Draws the loader's batches; None for images in order.
    """

    def __init__(
        self,
        loader: Batches,
        compute: Callable[[torch.Tensor], torch.Tensor],
        order: ViewBatchSampler | DividedOrder | None = None,
    ) -> None:
        self.loader = loader
        self.compute = compute
        self.order = order

    def set_epoch(self, epoch: int, first: int = 0) -> None:
        """Set the epoch of the next iteration, and its first batch."""
        if self.order:
            self.order.set_epoch(epoch, first)

    def __len__(self) -> int:
        return len(self.order) if self.order else 0

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        for images, targets in self.loader:
            features = self.compute(images)
            yield features, targets.to(features.device)


class GatheredFeatures:
    """Batches of features of which each process computes some, and all get them whole.

    Args:
        shares: What this process computes of each batch.
    """

    def __init__(self, shares: DividedBatches) -> None:
        self.shares = shares

    def set_epoch(self, epoch: int, first: int = 0) -> None:
        """Set the epoch of the next iteration, and its first batch."""
        self.shares.set_epoch(epoch, first)

    def __len__(self) -> int:
        return len(self.shares)

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        for [(share, features, targets)] in self.shares:
            own = (features.cpu(), targets.cpu()) if share.counts else None
            parts = [part for part in gather(own) if part]
            yield (
                torch.cat([rows for rows, _ in parts]).to(features.device),
                torch.cat([labels for _, labels in parts]).to(features.device),
            )


class EvalFeatures:
    """Batches of stored features in order, in their first view.

    Args:
        features: The features to evaluate on.
        batch_size: Images in a batch.
        numbers: Which batches; by default all.
    """

    def __init__(self, features: Features, batch_size: int, numbers: Iterable[int] | None = None) -> None:
        self.features = features
        self.batch_size = batch_size
        self.numbers = numbers

    def __len__(self) -> int:
        return -(-len(self.features.targets) // self.batch_size)

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        batches = torch.split(torch.arange(len(self.features.targets)), self.batch_size)
        for number in range(len(batches)) if self.numbers is None else self.numbers:
            picked = batches[number]
            yield self.features.views[0].take(picked), self.features.targets[picked]
