"""The index of packed shards, and the cache of what reading the headers of other shards gave."""

import contextlib
import dataclasses
import json
import os
import tarfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tl_toolkit.config.choices import Task
from tl_toolkit.data.sources.shard_members import ShardSamples
from tl_toolkit.errors import DataError, ToolkitError
from tl_toolkit.io.files import write_text
from tl_toolkit.io.json_validation import convert, parse_dataclass, parse_json
from tl_toolkit.io.reader_threads import reading
from tl_toolkit.io.row_cache import cache_folder
from tl_toolkit.text import format_value

FORMAT = 1
"""Of the index and of the cache; others are not read."""

CACHE_FOLDER = "shards"
MAX_CACHED = 2**30
"""Bytes of the cache of indexes; the least recently used go first."""


@dataclass(frozen=True)
class PackedShard:
    """A tar file of a pack.

    Attributes:
        path: Relative to the index.
        size: Its bytes.
        sha256: Digest of its bytes, hexadecimal.
        samples: Its samples.
    """

    path: str
    size: int
    sha256: str
    samples: ShardSamples


@dataclass(frozen=True)
class PackIndex:
    """What a pack holds.

    Attributes:
        name: Of the data that was packed.
        task: See `Source`.
        class_names: In the order of the targets; labels are places among them, or numbers for each.
        allow_hflip: See `Source`.
        shards: The tar files.
        format: `FORMAT`.
    """

    name: str
    task: Task
    class_names: list[str]
    allow_hflip: bool
    shards: list[PackedShard]
    format: int = field(default=FORMAT)

    def to_json(self) -> str:
        """Return the text of the file, with a line for each shard: for people and for version control."""
        head = {key: value for key, value in vars(self).items() if key != "shards"}
        lines = [json.dumps(dataclasses.asdict(shard), separators=(",", ":")) for shard in self.shards]
        shards = ",\n".join(lines)
        return f'{json.dumps(head, indent=1)[:-2]},\n "shards": [\n{shards}\n]}}\n'


def read_index(path: Path, place: str) -> PackIndex:
    """Read the index of a pack, which messages call `place`.

    Raises:
        DataError: It is damaged, or of another version.
    """
    try:
        with reading(path):
            text = path.read_text(encoding="utf-8")
        value = parse_json(text)
        if not isinstance(value, dict) or value.get("format") != FORMAT or not isinstance(value.get("shards"), list):
            raise ValueError(f"expected an object with format {FORMAT} and shards")
        shards = [_packed_shard(each, number) for number, each in enumerate(value["shards"])]
        head = {**value, "shards": []}
        index: PackIndex = parse_dataclass(PackIndex, head, "index")
        return dataclasses.replace(index, shards=shards)
    except OSError as error:
        raise DataError(f"Cannot read {place}: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"{place} is no index that tl wrote: {error}. Copy it again from where it was packed, or remove it to read "
            "the shards without it."
        ) from error


def _packed_shard(value: Any, number: int) -> PackedShard:
    name = f"shard {number}"
    if not isinstance(value, dict):
        raise ValueError(f"{name} is no object")
    samples: ShardSamples = parse_dataclass(ShardSamples, value.get("samples"), name)
    lists = [getattr(samples, part) for part in ("keys", "endings", "offsets", "sizes", "labels")]
    optional = [part for part in (samples.names, samples.places, samples.groups) if part is not None]
    if len({len(part) for part in [*lists, *optional]}) != 1:
        raise ValueError(f"the lists of {name} differ in length")
    if min([0, *samples.offsets, *samples.sizes]) < 0:
        raise ValueError(f"{name} has a negative offset or size")
    head: Any = convert({key: part for key, part in value.items() if key != "samples"}, dict[str, str | int], name)
    if set(head) != {"path", "size", "sha256"} or not isinstance(head["size"], int):
        raise ValueError(f"{name} lacks its path, size or digest")
    return PackedShard(str(head["path"]), head["size"], str(head["sha256"]), samples)


def read_class_names(path: Path, place: str) -> tuple[str, ...]:
    """Return the classes that a file beside shards lists.

    Raises:
        DataError: The file is no list of names.
    """
    try:
        with reading(path):
            found = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise DataError(f"Cannot read {place}: {error}.") from error
    if not (isinstance(found, list) and found and all(isinstance(name, str) and name.strip() for name in found)):
        raise DataError(f'{place} is {format_value(found)}. Expected a list of class names: ["cat", "dog"].')
    if len(set(found)) < len(found):
        twice = next(name for name in found if found.count(name) > 1)
        raise DataError(f"{place} lists the class {format_value(twice)} twice.")
    return tuple(found)


def check_shard(index: Path, shard: PackedShard, path: Path) -> None:
    """Check that a shard is the one of the index, by its size and the headers of its first and last image.

    Raises:
        DataError: It is another.
    """
    remedy = f"Copy both again from where they were packed, or remove {index} to read the shards without it."
    size = path.stat().st_size
    if size != shard.size:
        raise DataError(f"{path} has {size:,} bytes, and {index.name} says {shard.size:,}. {remedy}")
    samples = shard.samples
    if any(map(lambda offset, taken: offset + taken > size, samples.offsets, samples.sizes)):
        raise DataError(f"{index.name} says that {path} has images beyond its end. {remedy}")
    with path.open("rb") as file:
        for at in {0, len(samples.keys) - 1} if samples.keys else ():
            start = max(0, samples.offsets[at] - tarfile.BLOCKSIZE)
            file.seek(start)
            if not _is_header(file.read(tarfile.BLOCKSIZE), samples.sizes[at]):
                name = f"{samples.keys[at]}.{samples.endings[at]}"
                raise DataError(f"{path} has no {name} at byte {start:,}, where {index.name} says it is. {remedy}")


def _is_header(block: bytes, size: int) -> bool:
    """Return whether a block is the header of a file of this size; its name may stand elsewhere."""
    try:
        return tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape").size == size
    except tarfile.HeaderError:
        return False


def cached_samples(identity: bytes | None) -> ShardSamples | None:
    """Return what the headers of a tar file said before; None if it is not known, or damaged.

    Args:
        identity: What changes when the file does.
    """
    with contextlib.suppress(OSError, ValueError, RecursionError):
        entry = _cache_entry(identity)
        found: ShardSamples = parse_dataclass(ShardSamples, parse_json(entry.read_text(encoding="utf-8")), "cache")
        os.utime(entry)  # The time of the last use.
        return found
    return None


def cache_samples(identity: bytes, samples: ShardSamples) -> None:
    """Write what the headers of a tar file said. If this fails, the next run reads them again."""
    entry = _cache_entry(identity)
    with contextlib.suppress(OSError, ToolkitError):
        entry.parent.mkdir(parents=True, exist_ok=True)
        write_text(entry, json.dumps(dataclasses.asdict(samples), separators=(",", ":")))
        _evict(entry.parent)


def _cache_entry(identity: bytes | None) -> Path:
    return cache_folder() / CACHE_FOLDER / f"{FORMAT}-{identity.hex() if identity else ''}.json"


def _evict(folder: Path) -> None:
    entries = sorted(((path.stat(), path) for path in folder.glob("*.json")), key=lambda entry: -entry[0].st_mtime)
    taken = 0
    for status, path in entries:
        taken += status.st_size
        if taken > MAX_CACHED:
            path.unlink(missing_ok=True)
