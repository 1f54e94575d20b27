"""Identical images: the same content under several names, in one split or several."""

import dataclasses
import hashlib
import itertools
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from typing import TypeVar

from tl_toolkit.data.samples import Samples
from tl_toolkit.data.targets import Target, target_of
from tl_toolkit.io.fingerprints import IDENTITY_BYTES
from tl_toolkit.io.reader_threads import readers, reading

TAIL_BYTES = 4096
"""Files of one size are compared by their ends first: many JPEG files begin with the same tables."""

CHUNK = 256
"""Files for a thread at a time."""

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True, slots=True)
class DuplicateImage:
    """One of several images with the same content.

    Attributes:
        split: Its split.
        index: Its place there.
        target: Its class, or its labels; see `target_of`.
        name: Its path, or its number.
    """

    split: str
    index: int
    target: Target
    name: str


@dataclass(frozen=True)
class DuplicateGroups:
    """Images that share their content with others.

    Attributes:
        groups: Images of the same content, in the order of splits and indices.
    """

    groups: list[list[DuplicateImage]]

    @property
    def leaks(self) -> list[list[DuplicateImage]]:
        """Groups in several splits."""
        return [group for group in self.groups if len({copy.split for copy in group}) > 1]

    @property
    def conflicts(self) -> list[list[DuplicateImage]]:
        """Groups in several classes, or with several sets of labels, of which at most one is right."""
        return [group for group in self.groups if len({copy.target for copy in group}) > 1]

    @property
    def repeats(self) -> list[list[DuplicateImage]]:
        """Parts of groups within one class, or with the same labels, of one split."""
        parts = []
        for group in self.groups:
            within: defaultdict[tuple[str, Target], list[DuplicateImage]] = defaultdict(list)
            for copy in group:
                within[copy.split, copy.target].append(copy)
            parts += [part for part in within.values() if len(part) > 1]
        return parts


def with_content_hashes(splits: Mapping[str, Samples]) -> dict[str, Samples]:
    """Return the samples with `contents`.

    Files are identical if their bytes are, pixels if type, shape and values are. Only files of one size are opened, and
    only those that also end alike are read to the end; of encoded images whose size is known, only those of one size
    are read. An image of a dataset counts as it was first read; one that was never read is like no other.

    Args:
        splits: Samples by the name of their split.
    """
    splits = ordered(splits)
    places = [(split, index) for split, samples in splits.items() for index in range(len(samples))]
    keys: dict[int, bytes | None] = {}
    files: dict[int, str] = {}
    sizes: dict[int, int] = {}
    for number, (split, index) in enumerate(places):
        images = splits[split].images
        if path := images.path(index):
            files[number] = path
        elif size := images.size(index):
            sizes[number] = size
        else:
            keys[number] = images.content_hash(index)
    encoded = _content_hashes(splits, {number: places[number] for number in _shared(sizes)})
    shared = _shared(keys | encoded) | _shared_files(files)
    contents = map(shared.get, itertools.count())
    return {
        split: dataclasses.replace(samples, contents=list(itertools.islice(contents, len(samples))))
        for split, samples in splits.items()
    }


def ordered(splits: Mapping[str, Samples]) -> dict[str, Samples]:
    """Return the splits with train first and test last."""
    return {split: splits[split] for split in ("train", "val", "test") if split in splits}


def find_duplicates(splits: Mapping[str, Samples]) -> DuplicateGroups:
    """Find the identical images of splits from `with_content_hashes`; copies in train come before copies in test."""
    groups: defaultdict[bytes, list[DuplicateImage]] = defaultdict(list)
    for split, samples in splits.items():
        for index, content in enumerate(samples.contents):
            if content is not None:
                groups[content].append(
                    DuplicateImage(split, index, target_of(samples.targets, index), samples.name(index))
                )
    return DuplicateGroups([group for group in groups.values() if len(group) > 1])


def _shared(keys: Mapping[int, Key | None]) -> dict[int, Key]:
    """Return the keys that occur more than once."""
    counts = Counter(keys.values())
    return {number: key for number, key in keys.items() if key is not None and counts[key] > 1}


def _content_hashes(splits: Mapping[str, Samples], places: Mapping[int, tuple[str, int]]) -> dict[int, bytes | None]:
    """Return the hash of the content of encoded images, by their number; None if one cannot be read."""

    def read(place: tuple[str, int]) -> bytes | None:
        split, index = place
        return splits[split].images.content_hash(index)

    return dict(zip(places, readers().start(read, list(places.values())).results(), strict=True))


def _shared_files(files: Mapping[int, str]) -> dict[int, bytes]:
    """Return a hash of the content of each file that has a copy among the files."""
    sizes = _shared({number: _size(path) for number, path in files.items()})
    tails = _each_file(_tail, {number: files[number] for number in sizes})
    alike = _shared({number: (sizes[number], tail) if tail else None for number, tail in tails.items()})
    small = {number: tail for number, (size, tail) in alike.items() if size <= TAIL_BYTES}
    large = _each_file(digest_of_file, {number: files[number] for number in alike if number not in small})
    return small | _shared(large)


def _each_file(read: Callable[[str], bytes | None], files: Mapping[int, str]) -> dict[int, bytes | None]:
    """Return the result of `read` for each file, many at a time: a disk may be far away."""
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


def _size(path: str) -> int | None:
    try:
        return os.stat(path).st_size  # noqa: PTH116  # quicker, and there may be very many
    except OSError:
        return None


def _tail(path: str) -> bytes | None:
    """Return a digest of a file's end; None if it cannot be read."""
    try:
        with open(path, "rb") as file:  # noqa: PTH123  # quicker
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - TAIL_BYTES))
            return blake2b(file.read(), digest_size=IDENTITY_BYTES).digest()
    except OSError:
        return None


def digest_of_file(path: str) -> bytes | None:
    """Return a digest of a whole file; None if it cannot be read."""
    try:
        with open(path, "rb") as file:  # noqa: PTH123  # quicker
            return hashlib.file_digest(file, partial(blake2b, digest_size=IDENTITY_BYTES)).digest()
    except OSError:
        return None
