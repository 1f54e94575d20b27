"""The samples of a tar file in WebDataset's layout: which members belong together, and what is the label."""

import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tl_toolkit.data.sources.listing import IMAGE_ENDINGS
from tl_toolkit.errors import DataError
from tl_toolkit.io.tar_members import TarMember, read_members
from tl_toolkit.text import format_value, join_names, plural

KEY = re.compile(r"^((?:.*/)?[^./][^./]*)\.([^/]*)$", re.DOTALL)
"""Key and ending of a member's name, as WebDataset has them: the base name is parted at its first dot."""

LABEL_ENDINGS = ("cls", "json", "txt")
"""Members that may hold the label, the first that a sample has."""

MAX_LABEL_BYTES = 2**20
LABEL_KEYS = ("label", "labels")
LAYOUT = "Expected members that share a key: cat1.jpg and cat1.cls, cat1.json or cat1.txt with the label"


@dataclass
class ShardSamples:
    """The samples of a tar file, in its order; a list has an item for each.

    Attributes:
        keys: What the members of a sample share: the path up to the first dot of the base name.
        endings: What follows in the name of the image, such as "jpg".
        offsets: Where the image begins, in bytes.
        sizes: Bytes of the image.
        labels: A class as text or number, a list of classes, or numbers for each class.
        others: Number of members that are neither image nor label, by ending.
        names: What messages call an image; None for its key and ending.
        places: The place of each sample in the data that was packed, if that is known.
        groups: What must not be divided between splits, if that is known.
    """

    keys: list[str] = field(default_factory=list)
    endings: list[str] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    labels: list[Any] = field(default_factory=list)
    others: dict[str, int] = field(default_factory=dict)
    names: list[str] | None = None
    places: list[int] | None = None
    groups: list[str] | None = None

    def image_names(self) -> list[str]:
        """Return what messages call each image, and what a seed splits by."""
        return self.names or [f"{key}.{ending}" for key, ending in zip(self.keys, self.endings, strict=True)]


@dataclass
class _Sample:
    """The members of a key."""

    image: TarMember | None = None
    ending: str = ""
    labels: dict[str, TarMember] = field(default_factory=dict)
    others: list[str] = field(default_factory=list)


def read_samples(path: Path, place: str) -> ShardSamples:
    """Return the samples of a tar file.

    Args:
        path: The file.
        place: What errors call it.

    Raises:
        DataError: The file cannot be read as tar, or a sample has no image, several, or no label.
    """
    samples: dict[str, _Sample] = {}
    for member in read_members(path, _may_be_label, place):
        found = KEY.match(member.name)
        if found is None or found[1].rpartition("/")[2].startswith("__"):  # WebDataset's own members of a shard.
            continue
        key, ending = found[1].removeprefix("./"), found[2]
        sample = samples.setdefault(key, _Sample())
        if ending.lower() in IMAGE_ENDINGS:
            if sample.image is not None:
                raise DataError(
                    f"{place} has two images with the key {key}: {sample.image.name} and {member.name}. A sample is "
                    "one image and its label; give each image a key of its own, without a dot in it."
                )
            sample.image, sample.ending = member, ending
        elif ending.lower() in LABEL_ENDINGS:
            if ending.lower() in sample.labels:
                raise DataError(f"{place} has {member.name} twice. Write the shard anew, each member once.")
            sample.labels[ending.lower()] = member
        else:
            sample.others.append(ending)
    if not samples:
        raise DataError(f"{place} has no samples. {LAYOUT}.")
    _check_complete(place, samples)
    return _listed(place, samples)


def _may_be_label(name: str, size: int) -> bool:
    return size <= MAX_LABEL_BYTES and name.rpartition(".")[2].lower() in LABEL_ENDINGS


def _check_complete(place: str, samples: Mapping[str, _Sample]) -> None:
    """Refuse samples without image or label."""
    if without := [key for key, sample in samples.items() if sample.image is None]:
        endings = Counter(ending for key in without for ending in [*samples[key].labels, *samples[key].others])
        has = join_names([f".{ending}" for ending, _ in endings.most_common()])
        unknown = all(samples[key].others for key in without)
        images = "that end like no image" if unknown else "without an image"
        raise DataError(
            f"{place} has {plural(len(without), 'sample')} {images} ({join_names(without, most=3)}; there is {has}). "
            f"{LAYOUT}."
        )
    if without := [key for key, sample in samples.items() if not sample.labels]:
        others = Counter(ending for key in without for ending in samples[key].others)
        has = f"; there is {join_names([f'.{ending}' for ending, _ in others.most_common()])}" if others else ""
        raise DataError(
            f"{place} has {plural(len(without), 'image')} without a label ({join_names(without, most=3)}{has}). "
            f"{LAYOUT}."
        )


def _listed(place: str, samples: Mapping[str, _Sample]) -> ShardSamples:
    found = ShardSamples()
    others: Counter[str] = Counter()
    for key, sample in samples.items():
        assert sample.image is not None  # It was checked.
        ending = next(ending for ending in LABEL_ENDINGS if ending in sample.labels)
        found.keys.append(key)
        found.endings.append(sample.ending)
        found.offsets.append(sample.image.offset)
        found.sizes.append(sample.image.size)
        found.labels.append(_label(place, ending, sample.labels[ending]))
        others.update(sample.others)
    found.others = dict(others)
    return found


def _label(place: str, ending: str, member: TarMember) -> Any:
    """Return the label in a member.

    Raises:
        DataError: It has none.
    """
    where = f"{member.name} in {place}"
    if member.content is None:
        raise DataError(f"{where} has {member.size:,} bytes, too many for a label. {LAYOUT}.")
    try:
        text = member.content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{where} is no text in UTF-8 ({error.reason} at byte {error.start}). {LAYOUT}.") from error
    if ending != "json":
        if not text.strip():
            raise DataError(f"{where} is empty: it holds no label. Write one into it, or take the sample out.")
        return text.strip()
    try:
        value = json.loads(text)
    except ValueError as error:
        raise DataError(f"{where} is no JSON ({error}).") from error
    return _label_of_json(where, value)


def _label_of_json(where: str, value: Any) -> Any:
    if isinstance(value, dict):
        present = [key for key in LABEL_KEYS if key in value]
        if not present:
            raise DataError(
                f"{where} has no label: it has {join_names(list(value)) or 'nothing'}. Expected "
                f'{{"label": "cat"}}, or {{"labels": ["cat", "dog"]}} for several.'
            )
        value = value[present[0]]
    plain = (str, int, float)
    if isinstance(value, list) and all(isinstance(item, plain) for item in value):
        return value
    if isinstance(value, plain) and value not in ("", None):
        return value
    raise DataError(f"{where} has the label {format_value(value)}: a label is text, a number, or a list of these.")
