"""Describing a source: what is in it, and what is odd about it."""

import dataclasses
import statistics
from collections import Counter
from dataclasses import dataclass
from typing import Any

from tl_toolkit.data.images import ImageInfo
from tl_toolkit.data.quality.class_sizes import class_size_warnings, count_classes
from tl_toolkit.data.quality.readability import ExcludedImage, check_splits
from tl_toolkit.data.sources.base import Source
from tl_toolkit.events import Callback, TaskProgress


@dataclass(frozen=True)
class SplitFacts:
    """One split.

    Attributes:
        images: Readable images.
        class_counts: The same by class.
    """

    images: int
    class_counts: tuple[int, ...]


@dataclass(frozen=True)
class DatasetInfo:
    """What `tl data info` tells of a source."""

    name: str
    class_names: tuple[str, ...]
    splits: dict[str, SplitFacts]
    sizes: dict[str, tuple[float, float, float]]
    modes: dict[str, int]
    oddities: tuple[str, ...]
    bad_images: tuple[ExcludedImage, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return dataclasses.asdict(self)

    def size_rows(self) -> list[list[str]]:
        """Smallest, median and largest width and height."""
        return [[side, *(f"{value:,.0f}" for value in values)] for side, values in self.sizes.items()]


def describe(source: Source, callback: Callback) -> DatasetInfo:
    """Decodes every image of a source and tells what it found.

    Args:
        source: What to describe.
        callback: Told how far it is.
    """
    checked = check_splits(source.splits, lambda done, total: callback(TaskProgress("check", done, total)))
    facts = [fact for result in checked.values() for fact in result.facts.values()]
    bad = [image for result in checked.values() for image in result.bad]
    counts = {split: count_classes(result.readable.targets, source.class_names) for split, result in checked.items()}
    return DatasetInfo(
        name=source.name,
        class_names=source.class_names,
        splits={split: SplitFacts(sum(sizes), sizes) for split, sizes in counts.items()},
        sizes={"width": _spread([f.width for f in facts]), "height": _spread([f.height for f in facts])},
        modes=dict(Counter(fact.mode for fact in facts).most_common()),
        oddities=(*source.notes, *class_size_warnings(counts, source.class_names), *_odd_images(facts)),
        bad_images=tuple(bad),
    )


def _spread(values: list[int]) -> tuple[float, float, float]:
    return (min(values), statistics.median(values), max(values)) if values else (0, 0, 0)


def _odd_images(facts: list[ImageInfo]) -> list[str]:
    odd = []
    modes = Counter(fact.mode for fact in facts)
    if len(modes) > 1:
        rare = ", ".join(f"{mode} {count:,}" for mode, count in modes.most_common()[1:])
        odd.append(f"Not all images are {modes.most_common(1)[0][0]}: {rare}. They are converted.")
    return odd
