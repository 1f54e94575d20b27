"""Decoding every image once before anything depends on it."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import PIL
import torch

from tl_toolkit.data.images import HEIF_PACKAGE, ImageInfo, heif_version
from tl_toolkit.data.samples import Samples
from tl_toolkit.errors import ImageError, ToolkitError
from tl_toolkit.events import Callback, TaskProgress
from tl_toolkit.io.reader_threads import call_with_stall_guard, readers
from tl_toolkit.io.row_cache import RowCache

Result = TypeVar("Result")
CHUNK = 64
MODES = (
    *("1", "L", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "HSV", "I", "F", "LA", "PA", "RGBX", "RGBa", "La"),
    *("I;16", "I;16L", "I;16B", "I;16N"),
)
"""Pillow's modes. The cache stores a mode as its place here."""


@dataclass(frozen=True, slots=True)
class ExcludedImage:
    """An image that is left out, and why: it cannot be read, or repeats another."""

    split: str
    path: str
    reason: str

    def __str__(self) -> str:
        return str(ImageError(self.path, self.reason))


@dataclass(frozen=True)
class ScanResult(Generic[Result]):
    """What reading every image of a split gave.

    Attributes:
        split: Name of the split.
        samples: The split.
        results: Of the readable images, by index in ascending order.
        errors: Why the others cannot be read, by index.
    """

    split: str
    samples: Samples
    results: dict[int, Result]
    errors: dict[int, str]

    @property
    def readable(self) -> Samples:
        """The split without what cannot be read."""
        return self.samples.subset(list(self.results)) if self.errors else self.samples

    @property
    def bad(self) -> list[ExcludedImage]:
        """What cannot be read."""
        return [ExcludedImage(self.split, self.samples.name(i), reason) for i, reason in self.errors.items()]


class FileCache:
    """What earlier runs found in files, so that unchanged files are not read again.

    Args:
        folder: The cache.
        key: What an entry depends on.
        what: What an entry is, in words.
        dtype: Of the numbers of an entry.
    """

    def __init__(self, folder: Path, key: Mapping[str, Any], what: str, dtype: torch.dtype) -> None:
        self._rows = RowCache(folder, key, what)
        self._dtype = dtype

    def find(self, identities: Sequence[bytes | None]) -> dict[int, torch.Tensor]:
        """Return the entries of known files, by the place of the identity."""
        part, row = self._rows.find(identities)
        return {int(at): self._rows.parts[part[at]].rows[row[at]] for at in np.flatnonzero(part >= 0)}

    def add(self, entries: Mapping[bytes, Sequence[int]]) -> None:
        """Write entries by identity. If this fails, the next run reads the files again."""
        if entries:
            with contextlib.suppress(ToolkitError):
                self._rows.write(list(entries), torch.tensor(list(map(list, entries.values())), dtype=self._dtype))


def readability_cache(folder: Path) -> FileCache:
    """Return the cache of images that can be read: width, height and mode."""
    versions = {"pillow": PIL.__version__} | ({HEIF_PACKAGE: heif} if (heif := heif_version()) else {})
    return FileCache(folder, {"what": "readable", "versions": versions}, "which images can be read", torch.int32)


def check_splits(
    splits: Mapping[str, Samples], callback: Callback, min_size: int = 0, cache: FileCache | None = None
) -> dict[str, ScanResult[ImageInfo]]:
    """Decode all images of some splits.

    Args:
        splits: Samples by the name of their split.
        callback: Called with the progress.
        min_size: Height and width at which it is enough to decode; see `open_image`.
        cache: Files that need not be decoded; new ones are added.
    """
    identities: dict[str, list[bytes | None]] = {}
    known: dict[str, dict[int, ImageInfo]] = {}
    for split, samples in splits.items():
        if cache and samples.are_encoded:  # Decoding pixels in memory is quicker than a look into the cache.
            identities[split] = call_with_stall_guard(samples.identities)
            rows = ((index, row.tolist()) for index, row in cache.find(identities[split]).items())
            known[split] = {index: ImageInfo(width, height, MODES[mode]) for index, (width, height, mode) in rows}
    scanned = scan_splits(splits, lambda samples, index: samples.inspect(index, min_size), callback, known)
    if cache:
        new = {
            identity: (info.width, info.height, MODES.index(info.mode))
            for split in known
            for index, info in scanned[split].results.items()
            if index not in known[split] and (identity := identities[split][index]) and info.mode in MODES
        }
        cache.add(new)
    return scanned


def scan_splits(
    splits: Mapping[str, Samples],
    read: Callable[[Samples, int], Result],
    callback: Callback,
    known: Mapping[str, Mapping[int, Result]] | None = None,
) -> dict[str, ScanResult[Result]]:
    """Read every image of some splits.

    Args:
        splits: Samples by the name of their split.
        read: Called with the samples and an index; raises an ImageError if the image cannot be read.
        callback: Called with the progress.
        known: Results by split and index; these images are not read.
    """
    done, total = 0, sum(map(len, splits.values()))
    scanned: dict[str, ScanResult[Result]] = {}
    for split, samples in splits.items():
        results = dict((known or {}).get(split, {}))
        errors: dict[int, str] = {}
        new = [index for index in range(len(samples)) if index not in results]
        done += len(results)
        for index, result in zip(new, read_each(samples, partial(read, samples), new), strict=True):
            if isinstance(result, ImageError):
                errors[index] = result.reason
            else:
                results[index] = result
            done += 1
            if done % CHUNK == 0 or done == total:
                callback(TaskProgress("check", done, total))
        scanned[split] = ScanResult(split, samples, dict(sorted(results.items())), errors)
    return scanned


def read_each(samples: Samples, read: Callable[[int], Result], indices: Sequence[int]) -> Iterator[Result | ImageError]:
    """Yield what a function returns for the images at `indices`, in order, or why an image cannot be read.

    Encoded images are read on all cores, a few at a time to bound the memory; a dataset of the user's own may not
    stand threads.
    """
    if samples.are_encoded:
        for start in range(0, len(indices), CHUNK):
            chunk = indices[start : start + CHUNK]
            samples.images.read_ahead(chunk)
            yield from readers().start(read, chunk).outcomes()
        return
    for index in indices:
        try:
            yield read(index)
        except ImageError as error:
            yield error
