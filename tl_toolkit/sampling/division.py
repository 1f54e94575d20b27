"""Dividing batches: among processes, into parts that are computed one after the other, and whole for evaluation."""

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from tl_toolkit.errors import UsageError
from tl_toolkit.system.processes import world
from tl_toolkit.text import named


@dataclass(frozen=True, slots=True)
class Share:
    """What a process computes of one part of a batch: the images from `start` to `stop` of the batch.

    Attributes:
        start: Place of its first image in the batch.
        stop: Place after its last image.
        part_start: Place of the part's first image.
        part_stop: Place after the part's last image.
        counts: Whether its images count. A process that has none of a part computes the part's first image, so that it
            takes part in the exchange of gradients, but that image then counts for nothing.
    """

    start: int
    stop: int
    part_start: int
    part_stop: int
    counts: bool = True


@dataclass(frozen=True, slots=True)
class Division:
    """How the batches of a step are divided.

    Attributes:
        processes: Number of processes.
        rank: Number of this one.
        parts: Number of parts of a full batch, which each process computes one after the other.
    """

    processes: int = 1
    rank: int = 0
    parts: int = 1

    @property
    def is_whole(self) -> bool:
        """Whether a batch stays as it is."""
        return self.processes == self.parts == 1

    def shares(self, images: int, batch_size: int) -> list[Share]:
        """Return the shares of this process of a batch, one of each part; over all processes they hold each image once.

        The parts do not depend on the number of processes, so that BatchNorm, which learns on each, does not either.

        Args:
            images: Images in the batch.
            batch_size: Images in a full batch.
        """
        full = max(1, batch_size // self.parts)
        parts = min(self.parts, -(-images // full))
        if full > 1:
            parts = min(parts, max(1, images // 2))  # BatchNorm cannot learn from a single image.
        shares = []
        for part in range(parts):
            first, last = (images * each // parts for each in (part, part + 1))
            size = last - first
            start, stop = (first + size * rank // self.processes for rank in (self.rank, self.rank + 1))
            counts = stop > start
            shares.append(Share(start if counts else first, stop if counts else first + 1, first, last, counts))
        return shares


WHOLE = Division()


def division_of_batches(batch_size: int, accumulate: int) -> Division:
    """Return how this process divides batches.

    Raises:
        UsageError: The batch size is not a multiple of the number of processes and parts.
    """
    here = world()
    pieces = here.size * accumulate
    if batch_size % pieces:
        among = " and ".join(
            [
                *([f"{here.size} processes"] if here.size > 1 else []),
                *([f"{accumulate} parts ({named('accumulate', accumulate)})"] if accumulate > 1 else []),
            ]
        )
        below = batch_size // pieces * pieces
        sizes = " or ".join(str(size) for size in (below, below + pieces) if size)
        raise UsageError(
            f"{named('batch_size', batch_size)} is the number of images of a step over all processes, and cannot be "
            f"divided among {among}: take {sizes}."
        )
    return Division(here.size, here.rank, accumulate)


class DividedKeys:
    """The keys of this process's shares, a list for each: the batch sampler of a loader.

    Args:
        sampler: Keys of an epoch in order, from `sampler.first` on.
        batch_size: Images in a full batch.
        batches: Number of batches of an epoch.
        division: How batches are divided.
    """

    def __init__(self, sampler: Any, batch_size: int, batches: int, division: Division) -> None:
        self.sampler, self.batch_size, self.batches, self.division = sampler, batch_size, batches, division

    def __iter__(self) -> Iterator[list[Any]]:
        keys = iter(self.sampler)
        for _ in range(self.sampler.first // self.batch_size, self.batches):
            batch = list(itertools.islice(keys, self.batch_size))
            for share in self.division.shares(len(batch), self.batch_size):
                yield batch[share.start : share.stop]


class DividedOrder:
    """Indices and views of this process's shares, in place of those of whole batches.

    Args:
        order: Draws the batches.
        division: How they are divided.
    """

    def __init__(self, order: Any, division: Division) -> None:
        self.order, self.division = order, division

    def set_epoch(self, epoch: int, first: int = 0) -> None:
        """Set the epoch of the next iteration, and its first batch."""
        self.order.set_epoch(epoch, first)

    def __len__(self) -> int:
        return len(self.order)

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        for picked, views in self.order:
            for share in self.division.shares(len(picked), self.order.batch_size):
                yield picked[share.start : share.stop], views[share.start : share.stop]


class DividedBatches:
    """Batches as lists of the shares that this process computes of them.

    Args:
        shares: Inputs and targets of each share, with `set_epoch`.
        images: Images of an epoch.
        batch_size: Images in a full batch.
        batches: Number of batches of an epoch.
        division: How batches are divided.
    """

    def __init__(self, shares: Any, images: int, batch_size: int, batches: int, division: Division) -> None:
        self.shares, self.images, self.batch_size, self.batches = shares, images, batch_size, batches
        self.division = division
        self._first = 0

    def set_epoch(self, epoch: int, first: int = 0) -> None:
        """Set the epoch of the next iteration, and its first batch."""
        self._first = first
        self.shares.set_epoch(epoch, first)

    def __len__(self) -> int:
        return self.batches

    def __iter__(self) -> Iterator[list[tuple[Share, Any, Any]]]:
        computed = iter(self.shares)
        for batch in range(self._first, self.batches):
            images = min(self.batch_size, self.images - batch * self.batch_size)
            yield [(share, *next(computed)) for share in self.division.shares(images, self.batch_size)]


class DealtBatches:
    """Batches for evaluation, of which each process computes every n-th, as a whole.

    Args:
        own: Those of this process.
        count: Number of all batches.
    """

    def __init__(self, own: Iterable[Any], count: int) -> None:
        self.own, self.count = own, count

    def __iter__(self) -> Iterator[Any]:
        return iter(self.own)


def dealt(batches: int) -> range:
    """Return the numbers of the batches that this process computes in an evaluation."""
    here = world()
    return range(here.rank, batches, here.size)
