"""Tar files of images in WebDataset's layout."""

import dataclasses
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tl_toolkit.data.sources.base import Source, SourceOptions
from tl_toolkit.data.sources.names import SPLIT_FOLDERS
from tl_toolkit.data.sources.rows import Rows, source_of_rows
from tl_toolkit.data.sources.shard_access import ShardAccess
from tl_toolkit.data.sources.shard_files import CLASSES_FILE, INDEX_FILE, ShardFile, find_shards
from tl_toolkit.data.sources.shard_index import (
    PackIndex,
    cache_samples,
    cached_samples,
    check_shard,
    read_class_names,
    read_index,
)
from tl_toolkit.data.sources.shard_members import ShardSamples, read_samples
from tl_toolkit.data.tar_images import TarFile, TarImages
from tl_toolkit.errors import DataError
from tl_toolkit.io.reader_threads import call_with_stall_guard, readers
from tl_toolkit.text import join_names, plural


@dataclass(frozen=True)
class _Shard:
    """A shard and what is in it."""

    place: str
    split: str | None
    file: TarFile
    samples: ShardSamples


def open_shards(spec: object, options: SourceOptions) -> Source | None:
    """Open tar files: one, several by braces or a glob, or those of a folder.

    Raises:
        UsageError: Files are missing.
        DataError: Files are not in WebDataset's layout, or contradict each other.
    """
    if not isinstance(spec, str):
        return None
    files = call_with_stall_guard(find_shards, spec)
    if not files:
        return None
    places = [file.place for file in files]
    access = ShardAccess(places, options.cache_size)
    index_place = call_with_stall_guard(access.find_beside, places[0], INDEX_FILE)
    if index_place is None:
        shards = _open_foreign(files, access)
        index, stated = None, _stated_classes(places[0], access)
    else:
        index, stated = call_with_stall_guard(read_index, access.local(index_place), index_place), None
        shards = _open_packed(files, access, index_place, index)
    _check_keys(shards)
    source = source_of_rows(_rows(files, shards, index, stated), _options_of(options, index))
    if index is None or index_place is None:
        return source
    folder = index_place.rpartition("/")[0]
    checksums = {f"{folder}/{shard.path}": shard.sha256 for shard in index.shards if access.remote is None}
    used = {place: checksums[place] for place in places if place in checksums}
    return dataclasses.replace(source, allow_hflip=index.allow_hflip, checksums=used)


def _options_of(options: SourceOptions, index: PackIndex | None) -> SourceOptions:
    """Return the options with the task of the data that was packed, unless the user says one."""
    return dataclasses.replace(options, task=index.task) if index and options.task == "auto" else options


def _stated_classes(shard: str, access: ShardAccess) -> tuple[str, ...] | None:
    """Return the classes that a file beside the shards lists; None without one."""
    place = call_with_stall_guard(access.find_beside, shard, CLASSES_FILE)
    return call_with_stall_guard(read_class_names, access.local(place), place) if place else None


def _open_packed(files: Sequence[ShardFile], access: ShardAccess, index_place: str, index: PackIndex) -> list[_Shard]:
    """Return shards as the index of their pack describes them; those of a server are not fetched yet."""
    folder = index_place.rpartition("/")[0]
    packed = {f"{folder}/{shard.path}": shard for shard in index.shards}
    if unknown := [file.place for file in files if file.place not in packed]:
        raise DataError(
            f"{index_place} does not list {join_names(unknown, most=3)}. Put other shards into a folder of their own, "
            "or remove the index to read all of them without it."
        )
    identities = dict(zip(files, access.identities([file.place for file in files]), strict=True))

    def open_one(file: ShardFile) -> _Shard:
        shard = packed[file.place]
        if access.remote is None:
            check_shard(Path(index_place), shard, Path(file.place))
        tar = access.tar_file(file.place, identities[file], shard.size)
        return _Shard(file.place, file.split, tar, shard.samples)

    return _of_each(open_one, files)


def _open_foreign(files: Sequence[ShardFile], access: ShardAccess) -> list[_Shard]:
    """Return shards by their headers, which are read once."""
    identities = dict(zip(files, access.identities([file.place for file in files]), strict=True))

    def open_one(file: ShardFile) -> _Shard:
        identity = identities[file]
        tar = access.tar_file(file.place, identity)
        samples = cached_samples(identity)
        if samples is None:
            samples = read_samples(access.local(file.place), file.place)
            if identity and access.identities([file.place]) == [identity]:
                cache_samples(identity, samples)
        return _Shard(file.place, file.split, tar, samples)

    return _of_each(open_one, files)


def _of_each(open_one: Callable[[ShardFile], _Shard], files: Sequence[ShardFile]) -> list[_Shard]:
    def attempt(file: ShardFile) -> _Shard:
        try:
            return open_one(file)
        except OSError as error:
            raise DataError(f"Cannot read {file.place}: {error.strerror or error}.") from error

    return readers().start(attempt, files).results()


def _check_keys(shards: Sequence[_Shard]) -> None:
    """Refuse a key in two shards of a split: it is unclear whether it is one image."""
    seen: dict[tuple[str | None, str], str] = {}
    for shard in shards:
        for key in shard.samples.keys:
            before = seen.setdefault((shard.split, key), shard.place)
            if before != shard.place:
                raise DataError(
                    f"{before} and {shard.place} both have the key {key}. If it is the same image, take one out; if "
                    "not, write the shards with keys that differ, such as by the name of the shard."
                )


def _rows(
    files: Sequence[ShardFile], shards: Sequence[_Shard], index: PackIndex | None, stated: tuple[str, ...] | None
) -> Rows:
    """Return the samples of shards: in the order of the data that was packed, else of shards and their members.

    Shards of a server keep their own order, so that what goes through all images reads one shard after the other.
    """
    counts = [len(shard.samples.keys) for shard in shards]
    order = np.arange(sum(counts)) if files[0].is_remote else _order(shards)
    names = _joined([shard.samples.image_names() for shard in shards], order)
    images = TarImages(
        [shard.file for shard in shards],
        np.repeat(np.arange(len(shards), dtype=np.int32), counts)[order],
        np.array(_joined([shard.samples.offsets for shard in shards]), np.int64)[order],
        np.array(_joined([shard.samples.sizes for shard in shards]), np.int64)[order],
        names,
        by_shard=files[0].is_remote,
    )
    labels = _joined([shard.samples.labels for shard in shards], order)
    class_names = tuple(index.class_names) if index else stated
    per_class = _are_numbers(labels, class_names)
    if class_names and not index:
        labels = [_stated_label(label, class_names) for label in labels]
    splits = [shard.split for shard in shards for _ in shard.samples.keys]
    groups = [shard.samples.groups for shard in shards]
    return Rows(
        name=index.name if index else _name_of(files),
        images=images,
        labels=labels,
        places=names,
        class_names=class_names,
        splits=None if shards[0].split is None else [splits[at] for at in order],
        groups=None if any(each is None for each in groups) else _joined([each or [] for each in groups], order),
        notes=_notes(shards),
        per_class=per_class,
    )


def _order(shards: Sequence[_Shard]) -> np.ndarray:
    """Return the order of the samples (N) of shards, one after the other."""
    total = sum(len(shard.samples.keys) for shard in shards)
    if any(shard.samples.places is None for shard in shards):
        return np.arange(total)
    return np.argsort(np.array(_joined([shard.samples.places or [] for shard in shards]), np.int64), kind="stable")


def _joined(parts: Sequence[Sequence[Any]], order: np.ndarray | None = None) -> list[Any]:
    whole = [item for part in parts for item in part]
    return whole if order is None else [whole[at] for at in order]


def _are_numbers(labels: Sequence[Any], class_names: tuple[str, ...] | None) -> bool:
    """Return whether each label is a list of numbers, one for each of the classes that a file lists."""
    if not class_names:
        return False
    return all(
        isinstance(label, list) and len(label) == len(class_names) and all(isinstance(each, float) for each in label)
        for label in labels
    )


def _stated_label(label: Any, class_names: tuple[str, ...]) -> Any:
    """Return the place of a class as a number if it was written as text, as WebDataset's .cls members are."""
    if isinstance(label, str) and label.isdecimal() and label not in class_names:
        return int(label)
    return label


def _name_of(files: Sequence[ShardFile]) -> str:
    """Return a name for the run: of the one file, or of the folder of all."""
    place = files[0].place if files[0].is_remote else str(Path(files[0].place).absolute())
    *_, above, folder, name = ["", "", *re.split(r"[/\\]+", place)]
    if len(files) == 1 and files[0].split is None:
        return Path(name).stem
    return above if folder.lower() in SPLIT_FOLDERS else folder


def _notes(shards: Sequence[_Shard]) -> list[str]:
    others: Counter[str] = Counter()
    for shard in shards:
        others.update(shard.samples.others)
    return [_passed_over(others)] if others else []


def _passed_over(others: Mapping[str, int]) -> str:
    endings = [f".{ending} ({count:,})" for ending, count in sorted(others.items())]
    return f"Passed over in the shards: {plural(sum(others.values()), 'member')} ending in {join_names(endings)}."
