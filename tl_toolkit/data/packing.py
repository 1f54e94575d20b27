"""Packing: any source as tar files in WebDataset's layout, with an index and checksums."""

import contextlib
import io
import json
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Any

import filelock

from tl_toolkit.data.drawing import split_names
from tl_toolkit.data.images import UNDEFINED_RANGE_MODES, encoded_ending, read_file
from tl_toolkit.data.pixels import image_from_memory
from tl_toolkit.data.quality.duplicates import ordered
from tl_toolkit.data.quality.readability import read_each
from tl_toolkit.data.samples import Samples
from tl_toolkit.data.sources.base import Source
from tl_toolkit.data.sources.listing import IMAGE_ENDINGS
from tl_toolkit.data.sources.names import SPLIT_FOLDERS
from tl_toolkit.data.sources.shard_files import INDEX_FILE
from tl_toolkit.data.sources.shard_index import PackedShard, PackIndex
from tl_toolkit.data.sources.shard_members import ShardSamples
from tl_toolkit.data.tar_writer import TarWriter, member_bytes
from tl_toolkit.errors import DataError, ImageError, ToolkitError, UsageError
from tl_toolkit.events import Callback, TaskProgress
from tl_toolkit.io.files import NO_ROOM, UNFINISHED, format_size, write_text
from tl_toolkit.io.tar_members import ENDING
from tl_toolkit.text import named

MIN_DIGITS = 3
REPORT_EVERY = 64
PNG_MODES = ("1", "L", "LA", "I;16", "P", "RGB", "RGBA")
OTHER_MODES = {"La": "LA", "PA": "RGBA", "RGBa": "RGBA", "I;16B": "I;16", "I;16L": "I;16", "I;16N": "I;16"}
"""What other modes become without a loss; the rest becomes RGB, as it does when it is decoded."""


@dataclass(frozen=True)
class Packed:
    """What was packed.

    Attributes:
        folder: Where the shards are.
        index: What is in them.
    """

    folder: Path
    index: PackIndex

    @property
    def images(self) -> int:
        """Number of images."""
        return sum(len(shard.samples.keys) for shard in self.index.shards)

    @property
    def size(self) -> int:
        """Bytes of all shards."""
        return sum(shard.size for shard in self.index.shards)


def pack_source(source: Source, folder: Path, shard_bytes: int, callback: Callback) -> Packed:
    """Write a source as tar files, and an index of them.

    Image files and encoded images keep their bytes; pixels in memory become PNG. The samples of a split are shuffled by
    a hash of their names, so that any few shards hold all classes. The same source gives the same bytes. The folder
    appears when all is written; a pack that was killed leaves a hidden folder, which the next one to the same place
    removes.

    Args:
        source: Any source.
        folder: A folder that does not exist or is empty.
        shard_bytes: A shard takes no more bytes than this, or holds one sample.
        callback: Called with the progress.

    Raises:
        UsageError: The folder has something in it, or another pack writes to it.
        DataError: An image cannot be read.
        ToolkitError: The disk is full, or cannot be written.
    """
    check_is_empty(folder)
    unfinished = folder.with_name(f".{folder.name}{UNFINISHED}")
    with _writing(folder), _locked(folder, unfinished):
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        try:
            index = _Packer(source, unfinished, shard_bytes, callback).pack()
            write_text(unfinished / INDEX_FILE, index.to_json())
            if folder.exists():
                folder.rmdir()
            unfinished.rename(folder)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    return Packed(folder, index)


def check_is_empty(folder: Path) -> None:
    """Refuse a folder that has something in it, and a file.

    Raises:
        UsageError: There is something.
    """
    if folder.is_dir() and not any(folder.iterdir()):
        return
    if folder.exists():
        what = "is a file" if folder.is_file() else "has something in it"
        raise UsageError(f"{folder} {what}; nothing is ever overwritten. Choose another {named('out')}.")


@contextlib.contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        if error.errno in NO_ROOM:
            with contextlib.suppress(OSError):
                reason += f"; {format_size(shutil.disk_usage(folder.parent).free)} are free"
        raise ToolkitError(f"Cannot write {folder}: {reason}.") from error


@contextlib.contextmanager
def _locked(folder: Path, unfinished: Path) -> Iterator[None]:
    """Keep other packs from the same place within the block."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = unfinished.with_name(f"{unfinished.name}.lock")
    try:
        with filelock.FileLock(lock, timeout=0):
            yield
    except filelock.Timeout as error:
        raise UsageError(
            f"Another process packs into {folder}. Wait for it, or choose another {named('out')}."
        ) from error
    finally:
        with contextlib.suppress(OSError):
            lock.unlink()


class _Packer:
    """Writes the shards of a source, one after the other."""

    def __init__(self, source: Source, folder: Path, shard_bytes: int, callback: Callback) -> None:
        self.source, self.folder, self.shard_bytes, self.callback = source, folder, shard_bytes, callback
        self.total = sum(map(len, source.splits.values()))
        self.done = 0

    def pack(self) -> PackIndex:
        """Write all splits and return the index."""
        source, first = self.source, 0
        shards: list[PackedShard] = []
        in_folders = list(source.splits) != ["train"]
        for split, samples in ordered(source.splits).items():
            folder = self.folder / split if in_folders else self.folder
            folder.mkdir(exist_ok=True)
            shards += self._pack_split(folder, samples, first)
            first += len(samples)
        return PackIndex(source.name, source.task, list(source.class_names), source.allow_hflip, shards)

    def _pack_split(self, folder: Path, samples: Samples, first: int) -> list[PackedShard]:
        """Write the samples of a split; the first of them has the place `first` in the source."""
        names = split_names(samples, self.source)
        keys = _unique_keys(names)
        order = sorted(range(len(names)), key=lambda index: _hash(names[index]))
        shards: list[_OpenShard] = []
        with contextlib.ExitStack() as stack:
            for index, found in zip(order, read_each(samples, partial(_encoded, samples), order), strict=True):
                if isinstance(found, ImageError):
                    raise DataError(f"{found}. Mend it or take it out, and pack again.")
                ending, content = found
                label = self._label(samples.targets[index])
                if not shards or shards[-1].size + _needed(label, content) > self.shard_bytes:
                    if shards:
                        shards[-1].finish()
                    writer = stack.enter_context(TarWriter(folder / f"{len(shards)}{UNFINISHED}"))
                    shards.append(_OpenShard(writer, bool(samples.groups)))
                group = samples.groups[index] if samples.groups else None
                shards[-1].add(keys[index], ending, content, label, names[index], first + index, group)
                self._report()
            if shards:
                shards[-1].finish()
        digits = max(MIN_DIGITS, len(str(len(shards) - 1)))
        return [shard.name_it(f"{number:0{digits}d}{ENDING}", self.folder) for number, shard in enumerate(shards)]

    def _label(self, target: Any) -> "_Label":
        """Return a target as a member, as WebDataset's own decoders read it, and as the index has it."""
        task, names = self.source.task, self.source.class_names
        if task == "multi-class":
            return _Label("cls", str(int(target)).encode(), int(target))
        if task == "multi-label":
            present = [index for index, value in enumerate(target) if value]
            return _Label("json", _json({"labels": [names[index] for index in present]}), present)
        numbers = [float(value) for value in target]
        return _Label("json", _json({"labels": numbers}), numbers)

    def _report(self) -> None:
        self.done += 1
        if self.done % REPORT_EVERY == 0 or self.done == self.total:
            self.callback(TaskProgress("pack", self.done, self.total))


@dataclass(frozen=True)
class _Label:
    """The label of a sample.

    Attributes:
        ending: Of its member.
        content: Of its member.
        value: In the index: the place of a class, of several, or a number for each.
    """

    ending: str
    content: bytes
    value: int | list[int] | list[float]


class _OpenShard:
    """A shard that is being written."""

    def __init__(self, writer: TarWriter, groups: bool) -> None:
        self.writer = writer
        self.samples = ShardSamples(names=[], places=[], groups=[] if groups else None)

    @property
    def size(self) -> int:
        """Bytes so far."""
        return self.writer.size

    def add(
        self, key: str, ending: str, content: bytes, label: _Label, name: str, place: int, group: str | None
    ) -> None:
        """Add a sample."""
        samples = self.samples
        self.writer.add(f"{key}.{label.ending}", label.content)
        samples.offsets.append(self.writer.add(f"{key}.{ending}", content))
        samples.keys.append(key)
        samples.endings.append(ending)
        samples.sizes.append(len(content))
        samples.labels.append(label.value)
        for noted, value in ((samples.names, name), (samples.places, place), (samples.groups, group)):
            if noted is not None:
                noted.append(value)  # type: ignore[arg-type]  # A group is given if groups are noted.

    def finish(self) -> None:
        """Write its end."""
        self.writer.finish()
        self.writer.close()

    def name_it(self, name: str, folder: Path) -> PackedShard:
        """Give the file its name and return its entry of the index, whose folder is `folder`."""
        path = self.writer.path.rename(self.writer.path.with_name(name))
        place = path.relative_to(folder).as_posix()
        return PackedShard(place, self.writer.size, self.writer.sha256, self.samples)


def _needed(label: _Label, content: bytes) -> int:
    return member_bytes(len(label.content)) + member_bytes(len(content))


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogateescape")


def _hash(name: str) -> bytes:
    return blake2b(name.encode("utf-8", "surrogateescape"), digest_size=16).digest()


def _encoded(samples: Samples, index: int) -> tuple[str, bytes]:
    """Return the ending of an image's name and its bytes: its own if it is a file or encoded, else those of a PNG.

    Raises:
        ImageError: It cannot be read.
    """
    name, source = samples.name(index), samples.read(index)
    try:
        if isinstance(source, str | Path):
            source = read_file(source)
        if isinstance(source, bytes):
            ending = name.rpartition(".")[2]
            return (ending if ending.lower() in IMAGE_ENDINGS else encoded_ending(source)), source
        return "png", _png(source)
    except OSError as error:
        raise ImageError(name, error.strerror or str(error)) from error
    except ValueError as error:
        raise ImageError(name, str(error)) from error


def _png(source: Any) -> bytes:
    """Return pixels as PNG, which keeps them."""
    image = image_from_memory(source)
    if image.mode in UNDEFINED_RANGE_MODES:
        raise ValueError(f"pixels of mode {image.mode} have no defined range; save the image with 8 or 16 bits")
    if image.mode not in PNG_MODES:
        image = image.convert(OTHER_MODES.get(image.mode, "RGB"))
    written = io.BytesIO()
    image.save(written, "PNG", exif=image.getexif())  # It may say how the image is turned.
    return written.getvalue()


def _unique_keys(names: Sequence[str]) -> list[str]:
    """Return a key for each image: its name without its ending, with what has a meaning in a key replaced."""
    taken: set[str] = set()
    keys = []
    for name in names:
        parts = [part for part in re.split(r"[/\\:]+", name) if part not in ("", ".", "..")] or ["image"]
        if len(parts) > 1 and parts[0] in SPLIT_FOLDERS:
            parts = parts[1:]
        stem, _, ending = parts[-1].rpartition(".")
        base = (stem if ending.lower() in IMAGE_ENDINGS and stem else parts[-1]).replace(".", "_")
        key = wanted = "/".join([*parts[:-1], f"_{base[2:]}" if base.startswith("__") else base])
        number = 2
        while key in taken:
            key, number = f"{wanted}-{number}", number + 1
        taken.add(key)
        keys.append(key)
    return keys
