"""Decoding every image once before anything depends on it."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import PIL
import torch

from tl_toolkit.data.images import HEIF_PACKAGE, ImageInfo, heif_version
from tl_toolkit.data.samples import Samples
from tl_toolkit.errors import ImageError, ToolkitError
from tl_toolkit.io.reader_threads import call_with_stall_guard, readers
from tl_toolkit.io.row_cache import RowCache

Result = TypeVar("Result")
CHUNK = 64
MODES = (
    *("1", "L", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "HSV", "I", "F", "LA", "PA", "RGBX", "RGBa", "La"),
    *("I;16", "I;16L", "I;16B", "I;16N"),
)
"""Pillow's modes, by the number that stands for one in the cache."""


@dataclass(frozen=True, slots=True)
class ExcludedImage:
    """An image that cannot be read."""

    split: str
    path: str
    reason: str


@dataclass(frozen=True)
class ScanResult:
    """What decoding a split showed.

    Attributes:
        samples: The split.
        facts: Of the readable images, by index.
        bad: The others.
    """

    samples: Samples
    facts: dict[int, ImageInfo]
    bad: list[ExcludedImage]

    @property
    def readable(self) -> Samples:
        """The split without what cannot be read."""
        return self.samples.subset(sorted(self.facts)) if self.bad else self.samples


class ReadabilityCache:
    """The images that earlier runs could decode, so that files which are still the same need no second look.

    Args:
        folder: The cache.
    """

    def __init__(self, folder: Path) -> None:
        versions = {"pillow": PIL.__version__} | ({HEIF_PACKAGE: heif} if (heif := heif_version()) else {})
        self._store = RowCache(folder, {"what": "readable", "versions": versions}, "which images can be read")
        self._new: dict[bytes, ImageInfo] = {}

    def find(self, samples: Samples) -> tuple[list[bytes | None], dict[int, ImageInfo]]:
        """The identities of some images, and the facts of those that are known, by index."""
        identities = samples.identities()
        part, row = self._store.find(identities)
        facts = {}
        for index in np.flatnonzero(part >= 0):
            width, height, mode = self._store.parts[part[index]].rows[row[index]].tolist()
            facts[int(index)] = ImageInfo(width, height, MODES[mode])
        return identities, facts

    def add(self, identity: bytes | None, facts: ImageInfo) -> None:
        """Notes an image that was decoded."""
        if identity and facts.mode in MODES:
            self._new[identity] = facts

    def save(self) -> None:
        """Writes what was noted. Where it cannot be written, the next run looks again."""
        if not self._new:
            return
        rows = [(facts.width, facts.height, MODES.index(facts.mode)) for facts in self._new.values()]
        with contextlib.suppress(ToolkitError):
            self._store.write(list(self._new), torch.tensor(rows, dtype=torch.int32))
        self._new.clear()


def check_splits(
    splits: Mapping[str, Samples],
    told: Callable[[int, int], None],
    min_size: int = 0,
    known: ReadabilityCache | None = None,
) -> dict[str, ScanResult]:
    """Decodes all images of some splits, on all cores.

    Args:
        splits: Samples by the name of their split.
        told: Called every so often with the number of images done, and of all.
        min_size: Height and width at which it is enough to decode; see `open_image`.
        known: Images that need not be decoded; what is found now is added.
    """
    total = sum(map(len, splits.values()))
    done = 0
    checked: dict[str, ScanResult] = {}
    for split, samples in splits.items():
        looked_up = known if samples.are_files else None  # Pixels in memory are sooner looked at.
        identities, facts = call_with_stall_guard(looked_up.find, samples) if looked_up else ([], {})
        new = [index for index in range(len(samples)) if index not in facts]
        done += len(facts)
        bad: list[ExcludedImage] = []
        results = read_each(samples, partial(samples.inspect, min_size=min_size), new)
        for index, result in zip(new, results, strict=True):
            if isinstance(result, ImageInfo):
                facts[index] = result
                if looked_up:
                    looked_up.add(identities[index], result)
            else:
                bad.append(ExcludedImage(split, samples.name(index), result.reason))
            done += 1
            if done % CHUNK == 0 or done == total:
                told(done, total)
        checked[split] = ScanResult(samples, facts, bad)
    if known:
        known.save()
    return checked


def read_each(samples: Samples, read: Callable[[int], Result], indices: Sequence[int]) -> Iterator[Result | ImageError]:
    """What a function gives for the images at `indices`, in order, or why an image cannot be read.

    Files are read on all cores, a chunk of them at a time, so that little is held in memory; a dataset of the user's
    own may not stand it.
    """
    if samples.are_files:
        for start in range(0, len(indices), CHUNK):
            yield from readers().start(read, indices[start : start + CHUNK]).outcomes()
        return
    for index in indices:
        try:
            yield read(index)
        except ImageError as error:
            yield error
