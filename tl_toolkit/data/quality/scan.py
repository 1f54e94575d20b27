"""Looking at data before training: what is in it, and what would make its figures wrong."""

import dataclasses
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from tl_toolkit.config.choices import Task
from tl_toolkit.data.quality.checksums import describe_changed_files
from tl_toolkit.data.quality.class_sizes import class_size_warnings
from tl_toolkit.data.quality.duplicate_policy import describe_duplicates, describe_near
from tl_toolkit.data.quality.duplicates import (
    DuplicateGroups,
    DuplicateImage,
    find_duplicates,
    ordered,
    with_content_hashes,
)
from tl_toolkit.data.quality.image_facts import image_facts
from tl_toolkit.data.quality.label_counts import label_warnings
from tl_toolkit.data.quality.near_duplicates import ENOUGH, SMALLEST, PerceptualHash, near_pairs, perceptual_hash
from tl_toolkit.data.quality.readability import ExcludedImage, check_splits, scan_splits
from tl_toolkit.data.samples import Samples
from tl_toolkit.data.sources.base import Source
from tl_toolkit.data.targets import count_classes, name_target, target_of
from tl_toolkit.events import Callback, DecisionEvent
from tl_toolkit.io.files import write_csv

Kind = Literal["unreadable", "identical", "near-duplicate", "label"]


@dataclass(frozen=True)
class SplitCounts:
    """Readable images of a split, in all and by class or label."""

    images: int
    class_counts: tuple[int, ...]


@dataclass(frozen=True)
class DatasetInfo:
    """What is in a source.

    Attributes:
        name: Of the source.
        class_names: Its classes.
        splits: Readable images by split.
        sizes: Smallest, median and largest width and height in pixels.
        modes: Number of images by Pillow's mode, the most frequent first.
        oddities: What is odd, in words.
        bad_images: Images that cannot be read.
        task: Whether an image has one class, several labels or soft ones.
    """

    name: str
    class_names: tuple[str, ...]
    splits: dict[str, SplitCounts]
    sizes: dict[str, tuple[float, float, float]]
    modes: dict[str, int]
    oddities: tuple[str, ...]
    bad_images: tuple[ExcludedImage, ...]
    task: Task = "multi-class"


@dataclass(frozen=True, slots=True)
class DataIssue:
    """An image that something is wrong with: a line of the CSV file.

    Attributes:
        problem: What is wrong.
        group: Number of the group of images that are alike, from 1; 0 for an image that cannot be read.
        splits: Whether the group is in several splits.
        classes: Whether the group is in several classes, or has different labels.
        split: Split of the image.
        class_name: Class of the image, or its labels.
        path: Its path, or its number.
        reason: Why it cannot be read, or what it looks like instead of its class.
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
    """What is wrong with a source.

    Attributes:
        name: Of the source.
        class_names: Its classes.
        class_counts: Readable images of each class or with each label, by split.
        warnings: What is odd, in words, beside images that cannot be read.
        wrong: Whether a figure of a run would be wrong: images are in several splits or classes, or a file that holds
            images is not as it was written.
        problems: Every image that something is wrong with.
        images: Readable images, by split: an image may be of no class or of several.
        task: Whether an image has one class, several labels or soft ones.
    """

    name: str
    class_names: tuple[str, ...]
    class_counts: dict[str, tuple[int, ...]]
    warnings: tuple[str, ...]
    wrong: bool
    problems: tuple[DataIssue, ...]
    images: dict[str, int]
    task: Task = "multi-class"

    @property
    def unreadable(self) -> list[DataIssue]:
        """Images that cannot be read."""
        return [problem for problem in self.problems if problem.problem == "unreadable"]

    def write(self, path: Path) -> None:
        """Write the problems as CSV.

        Raises:
            ToolkitError: The file cannot be written.
        """
        header = [field.name for field in dataclasses.fields(DataIssue)]
        write_csv(path, header, (dataclasses.astuple(problem) for problem in self.problems))


def inspect_data(source: Source, callback: Callback) -> DatasetInfo:
    """Decode every image of a source and return its classes, sizes and modes.

    Args:
        source: The source.
        callback: Called with the progress.
    """
    scanned = check_splits(source.splits, callback)
    infos = [info for result in scanned.values() for info in result.results.values()]
    counts = _class_counts(source, {split: result.readable for split, result in scanned.items()})
    facts = image_facts(infos)
    images = {split: len(result.readable) for split, result in scanned.items()}
    oddities = [*source.notes, *_size_warnings(source, counts, images)]
    if len(facts.modes) > 1:
        (main, _), *others = facts.modes.items()
        rare = ", ".join(f"{mode} {count:,}" for mode, count in others)
        oddities.append(f"Not all images are {main}: {rare}. They are converted.")
    return DatasetInfo(
        name=source.name,
        class_names=source.class_names,
        splits={split: SplitCounts(images[split], sizes) for split, sizes in counts.items()},
        sizes=facts.sizes,
        modes=facts.modes,
        oddities=tuple(oddities),
        bad_images=tuple(image for result in scanned.values() for image in result.bad),
        task=source.task,
    )


def check_data(source: Source, callback: Callback) -> DataCheck:
    """Decode every image of a source and look for unreadable and identical ones, near duplicates and odd classes.

    Args:
        source: The source.
        callback: Called with the progress.
    """
    scanned = scan_splits(ordered(source.splits), _perceptual_hash, callback)
    looks = [look for result in scanned.values() for look in result.results.values()]
    if small := looks.count(None):
        why = f"they have less than {SMALLEST} pixels a side"
        callback(DecisionEvent("looks", f"{small:,} images are not compared", why))
    splits = with_content_hashes({split: result.readable for split, result in scanned.items()})
    copies = find_duplicates(splits)
    near = _find_near(splits, looks)
    counts = _class_counts(source, splits)
    images = {split: len(samples) for split, samples in splits.items()}
    changed = describe_changed_files(source.checksums, callback)
    warnings = [
        *source.notes,
        *_size_warnings(source, counts, images),
        *describe_duplicates(copies, source.class_names),
        *describe_near(near),
        *changed,
    ]
    unreadable = [
        DataIssue(
            "unreadable",
            0,
            False,
            False,
            split,
            name_target(target, source.class_names),
            result.samples.name(index),
            reason,
        )
        for split, result in scanned.items()
        for index, reason in result.errors.items()
        for target in [target_of(result.samples.targets, index)]
    ]
    alike = [
        *_issues("identical", copies, 1, source.class_names),
        *_issues("near-duplicate", near, 1 + len(copies.groups), source.class_names),
    ]
    wrong = bool(copies.leaks or copies.conflicts or changed)
    problems = (*unreadable, *alike)
    return DataCheck(source.name, source.class_names, counts, tuple(warnings), wrong, problems, images, source.task)


def _size_warnings(source: Source, counts: Mapping[str, Sequence[int]], images: Mapping[str, int]) -> list[str]:
    if source.task == "multi-class":
        return class_size_warnings(counts, source.class_names)
    return label_warnings(counts, images, source.class_names)


def _class_counts(source: Source, splits: Mapping[str, Samples]) -> dict[str, tuple[int, ...]]:
    return {split: count_classes(samples.targets, len(source.class_names)) for split, samples in splits.items()}


def _perceptual_hash(samples: Samples, index: int) -> PerceptualHash | None:
    return perceptual_hash(samples.open(index, 3, ENOUGH))


def _find_near(splits: Mapping[str, Samples], looks: Sequence[PerceptualHash | None]) -> DuplicateGroups:
    """Return groups of images that look the same but do not all have the same content."""
    places = [(split, index) for split, samples in splits.items() for index in range(len(samples))]
    different: dict[tuple[int, bytes], PerceptualHash] = {}
    images: defaultdict[tuple[int, bytes], list[int]] = defaultdict(list)
    for number, look in enumerate(looks):
        if look is not None:
            key = look.hash, look.thumbnail.tobytes()
            different[key] = look
            images[key].append(number)
    if not different:
        return DuplicateGroups([])
    hashes = np.array([look.hash for look in different.values()], np.uint64)
    pairs = near_pairs(hashes, np.stack([look.thumbnail for look in different.values()]))
    numbers_of_look = list(images.values())
    import networkx  # It takes a while, and few commands need it.

    graph = networkx.Graph()
    graph.add_nodes_from(range(len(different)))
    graph.add_edges_from(pairs)
    groups = []
    for together in networkx.connected_components(graph):
        numbers = sorted(number for place in together for number in numbers_of_look[place])
        contents = {splits[split].contents[index] for split, index in (places[number] for number in numbers)}
        if len(numbers) > 1 and (None in contents or len(contents) > 1):
            groups.append([_copy(splits, *places[number]) for number in numbers])
    return DuplicateGroups(sorted(groups, key=_alone))


def _alone(group: Sequence[DuplicateImage]) -> tuple[bool, bool]:
    """Return whether a group is in one split, and in one class: groups in several matter more and come first."""
    return len({copy.split for copy in group}) == 1, len({copy.target for copy in group}) == 1


def _copy(splits: Mapping[str, Samples], split: str, index: int) -> DuplicateImage:
    return DuplicateImage(split, index, target_of(splits[split].targets, index), splits[split].name(index))


def _issues(kind: Kind, copies: DuplicateGroups, first: int, class_names: Sequence[str]) -> Iterator[DataIssue]:
    for number, group in enumerate(copies.groups, start=first):
        one_split, one_class = _alone(group)
        for copy in group:
            labels = name_target(copy.target, class_names)
            yield DataIssue(kind, number, not one_split, not one_class, copy.split, labels, copy.name)
