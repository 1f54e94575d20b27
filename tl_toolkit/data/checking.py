"""Decoding every image once before anything depends on it."""

import os
from collections.abc import Callable, Iterator
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
    index: int
    name: str
    reason: str


def check_images(
    split: str, samples: Samples, told: Callable[[int], None]
) -> tuple[dict[int, ImageFacts], list[BadImage]]:
    """Decodes all images of a split, on all cores.

    Args:
        split: Its name.
        samples: Its images.
        told: Called with the number of images done, every so often.

    Returns:
        The facts of the readable images by index, and the others.
    """
    facts: dict[int, ImageFacts] = {}
    bad: list[BadImage] = []
    for index, result in enumerate(_in_threads(partial(_check_one, samples), len(samples), told)):
        if isinstance(result, ImageFacts):
            facts[index] = result
        else:
            bad.append(BadImage(split, index, samples.name(index), result))
    return facts, bad


def _in_threads(
    check: Callable[[int], ImageFacts | str], count: int, told: Callable[[int], None]
) -> Iterator[ImageFacts | str]:
    """Results in order; a chunk at a time is under way, so that little is held in memory."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, count, CHUNK):
            stop = min(start + CHUNK, count)
            yield from pool.map(check, range(start, stop))
            told(stop)


def _check_one(samples: Samples, index: int) -> ImageFacts | str:
    try:
        return samples.inspect(index)
    except ImageError as error:
        return error.reason
