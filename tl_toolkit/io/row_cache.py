"""The cache on disk: what a frozen network makes of an image, by everything that it depends on.

A folder `features/DIGEST/` for each network, preprocessing and view holds `entry.json`, which says what it is, and
shards: safetensors files with the rows of some images beside their identities. A shard appears whole or not at all
and is never changed, so that a killed run leaves nothing half-written and two runs at once do no harm: at worst both
compute the same rows.
"""

import contextlib
import dataclasses
import json
import math
import mmap
import os
import secrets
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs
import torch
from safetensors import SafetensorError, safe_open

from tl_toolkit.errors import ToolkitError
from tl_toolkit.io.files import write_text
from tl_toolkit.io.own_files import ENTRY_FILE
from tl_toolkit.io.reader_threads import begin_file, end_file
from tl_toolkit.io.safetensors_file import write_tensors

FORMAT = "2"
"""Part of every digest: a store of another format is never looked at."""

CACHE_VARIABLE = "TL_CACHE"
MAX_BYTES = 10 * 2**30
FREE_SHARE = 0.5
"""By default the cache takes 10 GiB, or half of what is free where that is less."""

IDENTITY_BYTES = 16

HEADER_LENGTH_BYTES = 8
"""A safetensors file begins with the length of its header, a JSON object (huggingface.co/docs/safetensors)."""

SMALL_BYTES = 2**26
"""Rows of a split that take no more are read once and held in memory."""


def cache_folder() -> Path:
    """Where the cache is: $TL_CACHE, else the system's place for caches."""
    chosen = os.environ.get(CACHE_VARIABLE)
    return Path(chosen).expanduser() if chosen else platformdirs.user_cache_path("tl_toolkit")


def default_limit(folder: Path) -> int:
    """How many bytes the cache may take where the user did not say."""
    place = folder
    while not place.exists():
        place = place.parent
    return min(MAX_BYTES, int(shutil.disk_usage(place).free * FREE_SHARE))


def fingerprint_file(path: str | Path) -> bytes | None:
    """What tells whether a file is still the same: its path, size and time of change; None where it is not there."""
    begin_file(path)
    try:
        status = os.stat(path)  # noqa: PTH116  # quicker, and there may be very many
    except OSError:
        return None
    finally:
        end_file()
    text = f"{os.path.abspath(path)}\0{status.st_size}\0{status.st_mtime_ns}"  # noqa: PTH100
    return blake2b(text.encode("utf-8", "surrogateescape"), digest_size=IDENTITY_BYTES).digest()


def fingerprint_content(content: bytes, what: str) -> bytes:
    """What tells whether pixels in memory are still the same.

    Args:
        content: Them.
        what: Their type and shape.
    """
    return blake2b(content, digest_size=IDENTITY_BYTES, key=what.encode()[:64]).digest()


@dataclass(frozen=True, slots=True)
class CacheEntry:
    """One folder of the cache.

    Attributes:
        path: The folder.
        what: What it holds, in words.
        images: Rows in it.
        size: Bytes on disk.
        used: When a run last used it, in seconds since 1970.
    """

    path: Path
    what: str
    images: int
    size: int
    used: float

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {**dataclasses.asdict(self), "path": str(self.path)}


def list_entries(folder: Path) -> list[CacheEntry]:
    """Everything in the cache, the last used first."""
    found = []
    for path in (folder / "features").glob("*/"):
        with contextlib.suppress(OSError, ValueError):  # Another run may be removing it.
            described = path / ENTRY_FILE
            size = sum(file.stat().st_size for file in path.iterdir())
            counts = [int(shard.name.partition("-")[0]) for shard in path.glob("*.safetensors")]
            what = json.loads(described.read_text(encoding="utf-8"))["what"] if described.exists() else "unfinished"
            found.append(CacheEntry(path, what, sum(counts), size, path.stat().st_mtime))
    return sorted(found, key=lambda entry: -entry.used)


def remove(entries: Sequence[CacheEntry]) -> None:
    """Removes entries; a run that reads one keeps what it has open.

    Raises:
        ToolkitError: The cache cannot be written.
    """
    for entry in entries:
        try:
            shutil.rmtree(entry.path)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise ToolkitError(f"Cannot remove {entry.path}: {error.strerror}.") from error


def evict(folder: Path, needed: int, limit: int, keep: Sequence[Path]) -> bool:
    """Removes what was not used for longest until `needed` more bytes fit within `limit`.

    Args:
        folder: The cache.
        needed: Bytes to come.
        limit: Bytes that the cache may take.
        keep: Entries that are in use.

    Returns:
        Whether they fit.
    """
    entries = list_entries(folder)
    taken = sum(entry.size for entry in entries)
    removable = [entry for entry in reversed(entries) if entry.path not in keep]
    if taken - sum(entry.size for entry in removable) + needed > limit:
        return False
    for entry in removable:
        if taken + needed <= limit:
            break
        remove([entry])
        taken -= entry.size
    return True


class Shard:
    """The rows of a shard on disk, mapped.

    Args:
        path: A safetensors file with "rows" and "identities".

    Attributes:
        rows: (n, ...).
        identities: Of the n images, one after the other.

    Raises:
        SafetensorError, OSError: It cannot be read.
    """

    def __init__(self, path: Path) -> None:
        with safe_open(path, framework="pt") as file:  # Checks the whole header; the tensors would stay mapped.
            self.identities: bytes = file.get_tensor("identities").numpy().tobytes()
            dtype, shape = file.get_tensor("rows").dtype, file.get_slice("rows").get_shape()
        with path.open("rb") as file:
            header = int.from_bytes(file.read(HEADER_LENGTH_BYTES), "little")
            start = HEADER_LENGTH_BYTES + header + json.loads(file.read(header))["rows"]["data_offsets"][0]
            self._mapping = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        self.rows = torch.frombuffer(self._mapping, dtype=dtype, count=math.prod(shape), offset=start).view(shape)

    def release_pages(self) -> None:
        """Gives back the pages that were read: they are in the system's own cache, and need not count as ours."""
        if hasattr(self._mapping, "madvise"):  # Not on Windows.
            self._mapping.madvise(mmap.MADV_DONTNEED)


class MemoryRows:
    """Rows (n, ...) in memory, for this run alone."""

    def __init__(self, rows: torch.Tensor) -> None:
        self.rows = rows

    def release_pages(self) -> None:
        """There is no other copy."""


Part = Shard | MemoryRows


class Rows:
    """A row for each image of a split, wherever they lie: in memory, or in shards on disk.

    Args:
        parts: Their rows are alike but for n.
        part: For each image, which of `parts`.
        row: And which row there.
    """

    def __init__(self, parts: Sequence[Part], part: np.ndarray, row: np.ndarray) -> None:
        used = np.unique(part)
        self._parts = [parts[index] for index in used]
        self._part = np.searchsorted(used, part)
        self._row = row
        self._all: torch.Tensor | None = None
        first = self._parts[0].rows[0]
        if len(row) * first.nbytes <= SMALL_BYTES:
            self._all = self._gather(np.arange(len(row)))

    def take(self, indices: torch.Tensor) -> torch.Tensor:
        """The rows of the images at `indices` (N), as (N, ...) of their own."""
        if self._all is not None:
            return torch.index_select(self._all, 0, indices)
        return self._gather(indices.numpy())

    def _gather(self, chosen: np.ndarray) -> torch.Tensor:
        part, row = self._part[chosen], torch.from_numpy(self._row[chosen])
        alike = self._parts[0].rows
        taken: torch.Tensor = alike.new_empty(len(chosen), *alike.shape[1:])
        for index in np.unique(part):
            here = torch.from_numpy(np.flatnonzero(part == index))
            taken[here] = self._parts[index].rows[row[here]]
            self._parts[index].release_pages()
        return taken


class RowCache:
    """One entry of the cache: a row for each image, by the image's identity.

    Args:
        folder: The cache.
        key: Everything that a row depends on beside the image.
        what: The same in words, for a listing.

    Attributes:
        parts: Rows on disk or held in memory.
        damaged: Shards that could not be read; they are removed.
    """

    def __init__(self, folder: Path, key: Mapping[str, Any], what: str) -> None:
        text = json.dumps({"format": FORMAT, **key}, sort_keys=True)
        self.path = folder / "features" / blake2b(text.encode(), digest_size=IDENTITY_BYTES).hexdigest()
        self._described = {"what": what, "key": {"format": FORMAT, **key}}
        self._place: dict[bytes, tuple[int, int]] = {}
        self.parts: list[Part] = []
        self.damaged: list[str] = []
        for shard in sorted(self.path.glob("*.safetensors")):
            try:
                self._read(shard)
            except (SafetensorError, OSError):
                self.damaged.append(str(shard))
                with contextlib.suppress(OSError):
                    shard.unlink()
        with contextlib.suppress(OSError):  # The last use; a read-only cache is good to read.
            os.utime(self.path)

    @property
    def last_part(self) -> int:
        """The part that was written or held last."""
        return len(self.parts) - 1

    def find(self, identities: Sequence[bytes | None]) -> tuple[np.ndarray, np.ndarray]:
        """Part and row of each identity, -1 where it is not in the store."""
        missing = (-1, -1)
        places = [self._place.get(identity, missing) if identity else missing for identity in identities]
        found = np.array(places, np.int64).reshape(-1, 2)
        return found[:, 0], found[:, 1]

    def add_in_memory(self, rows: torch.Tensor) -> None:
        """Takes rows into memory, for this run alone."""
        self.parts.append(MemoryRows(rows))

    def write(self, identities: Sequence[bytes], rows: torch.Tensor) -> None:
        """Writes a shard.

        Args:
            identities: Of the images.
            rows: (len(identities), ...).

        Raises:
            ToolkitError: The disk is full or cannot be written.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ToolkitError(f"Cannot write {self.path}: {error.strerror}.") from error
        described = self.path / ENTRY_FILE
        if not described.exists():
            write_text(described, json.dumps(self._described, indent=2) + "\n")
        packed = torch.from_numpy(np.frombuffer(b"".join(identities), np.uint8).copy()).view(-1, IDENTITY_BYTES)
        shard = self.path / f"{len(rows)}-{secrets.token_hex(8)}.safetensors"
        write_tensors(shard, {"identities": packed, "rows": rows})
        self._read(shard)

    def _read(self, path: Path) -> None:
        shard = Shard(path)
        self.parts.append(shard)
        packed = shard.identities
        for row in range(len(packed) // IDENTITY_BYTES):
            start = row * IDENTITY_BYTES
            self._place[packed[start : start + IDENTITY_BYTES]] = self.last_part, row
