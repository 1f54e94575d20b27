"""Identical images: the same content under several names, in one split or in two."""

import dataclasses
import hashlib
import itertools
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Any, TypeVar

from tl_toolkit.data.images import fingerprint_image, is_path
from tl_toolkit.data.samples import LazySubset, Samples
from tl_toolkit.data.sources.arrays import DatasetImages
from tl_toolkit.io.reader_threads import readers, reading
from tl_toolkit.io.row_cache import IDENTITY_BYTES

TAIL_BYTES = 4096
"""Of files of one size the end is compared first: a JPEG file begins with tables that many others have too."""

CHUNK = 256
"""Files that a thread takes at a time."""

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True, slots=True)
class DuplicateImage:
    """One of several images with the same content.

    Attributes:
        split: Where it is.
        index: Its place there.
        target: Its class.
        name: Its path, or what stands for it.
    """

    split: str
    index: int
    target: int
    name: str


@dataclass(frozen=True)
class DuplicateGroups:
    """Images that are not the only ones with their content.

    Attributes:
        groups: Each has the same content; in the order of splits and indices.
    """

    groups: list[list[DuplicateImage]]

    @property
    def leaks(self) -> list[list[DuplicateImage]]:
        """Groups that are in several splits."""
        return [group for group in self.groups if len({copy.split for copy in group}) > 1]

    @property
    def conflicts(self) -> list[list[DuplicateImage]]:
        """Groups that are in several classes: at most one of these is right."""
        return [group for group in self.groups if len({copy.target for copy in group}) > 1]

    @property
    def repeats(self) -> list[list[DuplicateImage]]:
        """What is there more than once within a class of a split."""
        parts = []
        for group in self.groups:
            within: defaultdict[tuple[str, int], list[DuplicateImage]] = defaultdict(list)
            for copy in group:
                within[copy.split, copy.target].append(copy)
            parts += [part for part in within.values() if len(part) > 1]
        return parts


def with_content_hashes(splits: Mapping[str, Samples]) -> dict[str, Samples]:
    """The same samples with `contents`.

    Files are alike when their bytes are, pixels when all are and their type and shape. Of files only those that share
    their size are opened, and read as a whole only those that also end alike. An image of a dataset is what it was when
    it was first read, so that one that was never read is like no other.

    Args:
        splits: Samples by the name of their split.
    """
    splits = ordered(splits)
    places = [(split, index) for split, samples in splits.items() for index in range(len(samples))]
    images = {split: samples.images for split, samples in splits.items()}
    keys: dict[int, bytes | None] = {}
    files: dict[int, str | Path] = {}
    for number, (split, index) in enumerate(places):
        if not isinstance(images[split], list):
            keys[number] = noted_content(images[split], index)
        elif is_path(image := images[split][index]):
            files[number] = image
        else:
            keys[number] = fingerprint_image(image)
    shared = _shared(keys) | _shared_files(files)
    contents = map(shared.get, itertools.count())
    return {
        split: dataclasses.replace(samples, contents=list(itertools.islice(contents, len(samples))))
        for split, samples in splits.items()
    }


def ordered(splits: Mapping[str, Samples]) -> dict[str, Samples]:
    """The same, train first and test last."""
    return {split: splits[split] for split in ("train", "val", "test") if split in splits}


def find_duplicates(splits: Mapping[str, Samples]) -> DuplicateGroups:
    """Find the identical images of splits from `with_content_hashes`; copies in train come before copies in test."""
    groups: defaultdict[bytes, list[DuplicateImage]] = defaultdict(list)
    for split, samples in splits.items():
        for index, content in enumerate(samples.contents):
            if content is not None:
                groups[content].append(DuplicateImage(split, index, samples.targets[index], samples.name(index)))
    return DuplicateGroups([group for group in groups.values() if len(group) > 1])


def noted_content(images: Sequence[Any], index: int) -> bytes | None:
    """What tells the content of an image that was read from a dataset."""
    if isinstance(images, LazySubset):
        return noted_content(images.images, images.indices[index])
    return images.contents.get(index) if isinstance(images, DatasetImages) else None


def _shared(keys: Mapping[int, Key | None]) -> dict[int, Key]:
    """The keys that occur more than once."""
    counts = Counter(keys.values())
    return {number: key for number, key in keys.items() if key is not None and counts[key] > 1}


def _shared_files(files: Mapping[int, str | Path]) -> dict[int, bytes]:
    """What tells the content of the files that have a copy among them."""
    sizes = _shared({number: _size(path) for number, path in files.items()})
    tails = _each_file(_tail, {number: files[number] for number in sizes})
    alike = _shared({number: (sizes[number], tail) if tail else None for number, tail in tails.items()})
    small = {number: tail for number, (size, tail) in alike.items() if size <= TAIL_BYTES}
    large = _each_file(digest_of_file, {number: files[number] for number in alike if number not in small})
    return small | _shared(large)


def _each_file(read: Callable[[str | Path], bytes | None], files: Mapping[int, str | Path]) -> dict[int, bytes | None]:
    """What reading gives for each file, many at a time: a disk may be far away."""
    numbers = list(files)
    chunks = [numbers[start : start + CHUNK] for start in range(0, len(numbers), CHUNK)]

    def read_all(chunk: list[int]) -> list[bytes | None]:
        results = []
        for number in chunk:
            with reading(files[number]):
                results.append(read(files[number]))
        return results

    results = readers().start(read_all, chunks).results()
    return dict(zip(numbers, itertools.chain.from_iterable(results), strict=True))


def _size(path: str | Path) -> int | None:
    try:
        return os.stat(path).st_size  # noqa: PTH116  # quicker, and there may be very many
    except OSError:
        return None


def _tail(path: str | Path) -> bytes | None:
    """A digest of a file's end; None where it cannot be read."""
    try:
        with open(path, "rb") as file:  # noqa: PTH123  # quicker
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - TAIL_BYTES))
            return blake2b(file.read(), digest_size=IDENTITY_BYTES).digest()
    except OSError:
        return None


def digest_of_file(path: str | Path) -> bytes | None:
    """A digest of a whole file."""
    try:
        with open(path, "rb") as file:  # noqa: PTH123  # quicker
            return hashlib.file_digest(file, partial(blake2b, digest_size=IDENTITY_BYTES)).digest()
    except OSError:
        return None
