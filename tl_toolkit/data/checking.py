"""Decoding every image once before anything depends on it."""

import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from tl_toolkit.data.dataset import Samples
from tl_toolkit.data.images import ImageFacts
from tl_toolkit.errors import ImageError

CHUNK = 64


@dataclass(frozen=True, slots=True)
class BadImage:
    """An image that cannot be read."""

    split: str
    path: str
    reason: str


@dataclass(frozen=True)
class Checked:
    """What decoding a split showed.

    Attributes:
        samples: The split.
        facts: Of the readable images, by index.
        bad: The others.
    """

    samples: Samples
    facts: dict[int, ImageFacts]
    bad: list[BadImage]

    @property
    def readable(self) -> Samples:
        """The split without what cannot be read."""
        return self.samples.subset(sorted(self.facts)) if self.bad else self.samples


def check_splits(splits: Mapping[str, Samples], told: Callable[[int, int], None]) -> dict[str, Checked]:
    """Decodes all images of some splits, on all cores.

    Args:
        splits: Samples by the name of their split.
        told: Called every so often with the number of images done, and of all.
    """
    total = sum(map(len, splits.values()))
    done = 0
    checked: dict[str, Checked] = {}
    for split, samples in splits.items():
        facts: dict[int, ImageFacts] = {}
        bad: list[BadImage] = []
        check = partial(_check_one, samples)
        # Files can be read in threads; a dataset of the user's own may not stand it.
        results = _in_threads(check, len(samples)) if samples.are_files else map(check, range(len(samples)))
        for index, result in enumerate(results):
            if isinstance(result, ImageFacts):
                facts[index] = result
            else:
                bad.append(BadImage(split, samples.name(index), result))
            done += 1
            if done % CHUNK == 0 or done == total:
                told(done, total)
        checked[split] = Checked(samples, facts, bad)
    return checked


def _in_threads(check: Callable[[int], ImageFacts | str], count: int) -> Iterator[ImageFacts | str]:
    """Results in order; a chunk at a time is under way, so that little is held in memory."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, count, CHUNK):
            yield from pool.map(check, range(start, min(start + CHUNK, count)))


def _check_one(samples: Samples, index: int) -> ImageFacts | str:
    try:
        return samples.inspect(index)
    except ImageError as error:
        return error.reason
