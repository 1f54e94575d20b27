"""Checking data before training: every image decoded, and what would make its figures wrong."""

import dataclasses
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from tl_toolkit.data.quality.class_sizes import class_size_warnings, count_classes
from tl_toolkit.data.quality.duplicate_policy import describe_duplicates, describe_near
from tl_toolkit.data.quality.duplicates import (
    DuplicateGroups,
    DuplicateImage,
    find_duplicates,
    ordered,
    with_content_hashes,
)
from tl_toolkit.data.quality.near_duplicates import ENOUGH, SMALLEST, PerceptualHash, near_pairs, perceptual_hash
from tl_toolkit.data.quality.readability import CHUNK, ExcludedImage, read_each
from tl_toolkit.data.samples import Samples
from tl_toolkit.data.sources.base import Source
from tl_toolkit.errors import ImageError
from tl_toolkit.events import Callback, DecisionEvent, TaskProgress
from tl_toolkit.io.files import write_csv

Kind = Literal["unreadable", "identical", "near-duplicate"]


@dataclass(frozen=True, slots=True)
class DataIssue:
    """An image with which something is wrong: a line of the CSV file.

    Attributes:
        problem: What.
        group: Number of the group of images that are alike, from 1; 0 where the image is alone.
        splits: Whether the group is in several splits.
        classes: Whether it is in several classes.
        split: Where the image is.
        class_name: Its class.
        path: Its path, or what stands for it.
        reason: Why it cannot be read.
    """

    problem: Kind
    group: int
    splits: bool
    classes: bool
    split: str
    class_name: str
    path: str
    reason: str = ""


@dataclass(frozen=True)
class DataCheck:
    """What `tl data check` tells of a source.

    Attributes:
        name: Of the source.
        class_names: Its classes.
        class_counts: Readable images of each class, by split.
        warnings: What is odd, in words, beside images that cannot be read.
        wrong: Whether a figure of a run would be wrong: images are in several splits or classes.
        problems: Every image that something is wrong with.
    """

    name: str
    class_names: tuple[str, ...]
    class_counts: dict[str, tuple[int, ...]]
    warnings: tuple[str, ...]
    wrong: bool
    problems: tuple[DataIssue, ...]

    @property
    def unreadable(self) -> int:
        """Images that cannot be read."""
        return sum(problem.problem == "unreadable" for problem in self.problems)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return dataclasses.asdict(self)

    def write(self, path: Path) -> None:
        """Writes the problems as CSV.

        Raises:
            ToolkitError: The file cannot be written.
        """
        header = [field.name for field in dataclasses.fields(DataIssue)]
        write_csv(path, header, (dataclasses.astuple(problem) for problem in self.problems))


def check_data(source: Source, callback: Callback) -> DataCheck:
    """Decodes every image of a source and looks for unreadable and identical ones, near duplicates and odd classes.

    Args:
        source: What to check.
        callback: Told how far it is.
    """
    readable, prints, bad = _look(source, callback)
    if small := sum(seen is None for seen in prints):
        callback(
            DecisionEvent(
                "looks", f"{small:,} images are not compared", f"they have less than {SMALLEST} pixels a side"
            )
        )
    splits = with_content_hashes(readable)
    copies = find_duplicates(splits)
    near = _find_near(splits, prints)
    counts = {split: count_classes(samples.targets, source.class_names) for split, samples in splits.items()}
    warnings = [
        *source.notes,
        *class_size_warnings(counts, source.class_names),
        *describe_duplicates(copies, source.class_names),
        *describe_near(near),
    ]
    problems = [
        *(
            DataIssue("unreadable", 0, False, False, image.split, source.class_names[target], image.path, image.reason)
            for target, image in bad
        ),
        *_problems("identical", copies, 1, source.class_names),
        *_problems("near-duplicate", near, 1 + len(copies.groups), source.class_names),
    ]
    wrong = bool(copies.leaks or copies.conflicts)
    return DataCheck(source.name, source.class_names, counts, tuple(warnings), wrong, tuple(problems))


def _look(
    source: Source, callback: Callback
) -> tuple[dict[str, Samples], list[PerceptualHash | None], list[tuple[int, ExcludedImage]]]:
    """The readable images, what they look like one after the other, and the others with their class."""
    readable: dict[str, Samples] = {}
    prints: list[PerceptualHash | None] = []
    bad: list[tuple[int, ExcludedImage]] = []
    done, total = 0, sum(map(len, source.splits.values()))
    for split, samples in ordered(source.splits).items():
        results = read_each(samples, partial(_fingerprint, samples), range(len(samples)))
        good = []
        for index, result in enumerate(results):
            if isinstance(result, ImageError):
                bad.append((samples.targets[index], ExcludedImage(split, samples.name(index), result.reason)))
            else:
                good.append(index)
                prints.append(result)
            done += 1
            if done % CHUNK == 0 or done == total:
                callback(TaskProgress("check", done, total))
        readable[split] = samples.subset(good) if len(good) < len(samples) else samples
    return readable, prints, bad


def _fingerprint(samples: Samples, index: int) -> PerceptualHash | None:
    return perceptual_hash(samples.open(index, 3, ENOUGH))


def _find_near(splits: Mapping[str, Samples], prints: Sequence[PerceptualHash | None]) -> DuplicateGroups:
    """Groups of images that look the same, where not all have the same content."""
    places = [(split, index) for split, samples in splits.items() for index in range(len(samples))]
    looks: dict[tuple[int, bytes], PerceptualHash] = {}
    images: defaultdict[tuple[int, bytes], list[int]] = defaultdict(list)
    for number, seen in enumerate(prints):
        if seen is not None:
            look = seen.hash, seen.miniature.tobytes()
            looks[look] = seen
            images[look].append(number)
    if not looks:
        return DuplicateGroups([])
    hashes = np.array([seen.hash for seen in looks.values()], np.uint64)
    pairs = near_pairs(hashes, np.stack([seen.miniature for seen in looks.values()]))
    of_look = list(images.values())
    groups = []
    for together in _joined(len(looks), pairs):
        numbers = sorted(number for place in together for number in of_look[place])
        contents = {splits[split].contents[index] for split, index in (places[number] for number in numbers)}
        if len(numbers) > 1 and (None in contents or len(contents) > 1):
            groups.append([_copy(splits, *places[number]) for number in numbers])
    return DuplicateGroups(sorted(groups, key=_alone))


def _alone(group: Sequence[DuplicateImage]) -> tuple[bool, bool]:
    """Whether a group is in one split and in one class: what is in several matters more, and comes first."""
    return len({copy.split for copy in group}) == 1, len({copy.target for copy in group}) == 1


def _copy(splits: Mapping[str, Samples], split: str, index: int) -> DuplicateImage:
    return DuplicateImage(split, index, splits[split].targets[index], splits[split].name(index))


def _joined(count: int, pairs: Iterator[tuple[int, int]]) -> list[list[int]]:
    """The numbers below `count` in groups that are joined by pairs, in the order of their first."""
    parent = list(range(count))

    def root(number: int) -> int:
        while parent[number] != number:
            parent[number] = parent[parent[number]]
            number = parent[number]
        return number

    for first, second in pairs:
        one, other = sorted((root(first), root(second)))
        parent[other] = one
    groups: defaultdict[int, list[int]] = defaultdict(list)
    for number in range(count):
        groups[root(number)].append(number)
    return list(groups.values())


def _problems(kind: Kind, copies: DuplicateGroups, first: int, class_names: Sequence[str]) -> Iterator[DataIssue]:
    for number, group in enumerate(copies.groups, start=first):
        one_split, one_class = _alone(group)
        for copy in group:
            yield DataIssue(kind, number, not one_split, not one_class, copy.split, class_names[copy.target], copy.name)
