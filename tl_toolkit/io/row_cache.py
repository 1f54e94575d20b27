"""The feature cache on disk: the output of a frozen network for each image, keyed by all that it depends on.

A folder `features/DIGEST/` for each network, preprocessing and view holds `entry.json`, which describes it, and shards:
safetensors files with the rows and identities of some images. Shards are written atomically and never change, so that a
killed run leaves nothing half-written and concurrent runs do no harm: at worst both compute the same rows.
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
from tl_toolkit.io.fingerprints import IDENTITY_BYTES
from tl_toolkit.io.own_files import ENTRY_FILE
from tl_toolkit.io.safetensors_file import write_tensors

FORMAT = "2"
"""Part of every digest: other formats are never read."""

CACHE_VARIABLE = "TL_CACHE"
MAX_BYTES = 10 * 2**30
FREE_SHARE = 0.5
"""By default the cache takes 10 GiB, or half of the free disk space if that is less."""

HEADER_LENGTH_BYTES = 8
"""A safetensors file begins with the length of its header, a JSON object (huggingface.co/docs/safetensors)."""

SMALL_BYTES = 2**26
"""A split whose rows take at most this many bytes is read once into memory."""


def cache_folder() -> Path:
    """Return the folder of the cache: $TL_CACHE, else the system's folder for caches."""
    path = os.environ.get(CACHE_VARIABLE)
    return Path(path).expanduser() if path else platformdirs.user_cache_path("tl_toolkit")


def default_limit(folder: Path) -> int:
    """Return the default limit of the cache in bytes."""
    while not folder.exists():
        folder = folder.parent
    return min(MAX_BYTES, int(shutil.disk_usage(folder).free * FREE_SHARE))


@dataclass(frozen=True, slots=True)
class CacheEntry:
    """A folder of the cache."""

    path: Path
    what: str
    """Its content, in words."""
    images: int
    size: int
    """Bytes on disk."""
    used: float
    """Time of the last use by a run, in seconds since 1970."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {**dataclasses.asdict(self), "path": str(self.path)}


def list_entries(folder: Path) -> list[CacheEntry]:
    """Return the entries of the cache, the most recently used first."""
    found = []
    for path in (folder / "features").glob("*/"):
        with contextlib.suppress(OSError, ValueError):  # Another run may be removing it.
            entry = path / ENTRY_FILE
            size = sum(file.stat().st_size for file in path.iterdir())
            counts = [int(shard.name.partition("-")[0]) for shard in path.glob("*.safetensors")]
            what = json.loads(entry.read_text(encoding="utf-8"))["what"] if entry.exists() else "unfinished"
            found.append(CacheEntry(path, what, sum(counts), size, path.stat().st_mtime))
    return sorted(found, key=lambda entry: -entry.used)


def remove(entries: Sequence[CacheEntry]) -> None:
    """Remove entries; a run that reads one keeps its open files.

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
    """Remove the least recently used entries, except `keep`, until `needed` more bytes fit within `limit`.

    Returns:
        Whether they fit; if not, nothing is removed.
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
    """A memory-mapped shard.

    Args:
        path: A safetensors file with "rows" and "identities".

    Attributes:
        rows: (n, ...).
        identities: Identities of the n images, concatenated.

    Raises:
        SafetensorError, OSError: The file cannot be read.
    """

    def __init__(self, path: Path) -> None:
        with safe_open(path, framework="pt") as file:  # Validates the header; its tensors would stay mapped.
            self.identities: bytes = file.get_tensor("identities").numpy().tobytes()
            dtype, shape = file.get_tensor("rows").dtype, file.get_slice("rows").get_shape()
        with path.open("rb") as file:
            header = int.from_bytes(file.read(HEADER_LENGTH_BYTES), "little")
            start = HEADER_LENGTH_BYTES + header + json.loads(file.read(header))["rows"]["data_offsets"][0]
            self._mapping = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        self.rows = torch.frombuffer(self._mapping, dtype=dtype, count=math.prod(shape), offset=start).view(shape)

    def release_pages(self) -> None:
        """Release the pages that were read, which stay in the system's page cache."""
        if hasattr(self._mapping, "madvise"):  # Not on Windows.
            self._mapping.madvise(mmap.MADV_DONTNEED)


class MemoryRows:
    """Rows (n, ...) in memory, for this run only."""

    def __init__(self, rows: torch.Tensor) -> None:
        self.rows = rows

    def release_pages(self) -> None:
        """Do nothing: there is no other copy."""


Part = Shard | MemoryRows


class Rows:
    """The rows of the images of a split, in memory or in shards.

    Args:
        parts: Parts whose rows have the same shape, except for the first dimension.
        part: Index of each image's part.
        row: Index of each image's row in its part.
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
        """Return a copy (N, ...) of the rows of the images at `indices` (N)."""
        if self._all is not None:
            return torch.index_select(self._all, 0, indices)
        return self._gather(indices.numpy())

    def _gather(self, indices: np.ndarray) -> torch.Tensor:
        part, row = self._part[indices], torch.from_numpy(self._row[indices])
        rows = self._parts[0].rows
        taken: torch.Tensor = rows.new_empty(len(indices), *rows.shape[1:])
        for index in np.unique(part):
            here = torch.from_numpy(np.flatnonzero(part == index))
            taken[here] = self._parts[index].rows[row[here]]
            self._parts[index].release_pages()
        return taken


class RowCache:
    """An entry of the cache: a row per image, by the image's identity.

    Args:
        folder: The cache.
        key: All that a row depends on beside the image.
        what: The same in words, for listings.

    Attributes:
        parts: Rows on disk or in memory.
        damaged: Unreadable shards, which are removed.
    """

    def __init__(self, folder: Path, key: Mapping[str, Any], what: str) -> None:
        text = json.dumps({"format": FORMAT, **key}, sort_keys=True)
        self.path = folder / "features" / blake2b(text.encode(), digest_size=IDENTITY_BYTES).hexdigest()
        self._description = {"what": what, "key": {"format": FORMAT, **key}}
        self._place: dict[bytes, tuple[int, int]] = {}
        self.parts: list[Part] = []
        self.damaged: list[str] = []
        self._read_names: set[str] = set()
        self.refresh()
        with contextlib.suppress(OSError):  # The time of the last use; the cache may be read-only.
            os.utime(self.path)

    def refresh(self) -> None:
        """Read the shards that were written since, by other processes."""
        for shard in sorted(self.path.glob("*.safetensors")):
            if shard.name in self._read_names:
                continue
            try:
                self._read(shard)
            except (SafetensorError, OSError):
                self.damaged.append(str(shard))
                with contextlib.suppress(OSError):
                    shard.unlink()

    @property
    def last_part(self) -> int:
        """Index of the part that was added last."""
        return len(self.parts) - 1

    def find(self, identities: Sequence[bytes | None]) -> tuple[np.ndarray, np.ndarray]:
        """Return part and row of each identity, -1 if it is not in the cache."""
        missing = (-1, -1)
        places = [self._place.get(identity, missing) if identity else missing for identity in identities]
        found = np.array(places, np.int64).reshape(-1, 2)
        return found[:, 0], found[:, 1]

    def add_in_memory(self, rows: torch.Tensor) -> None:
        """Add rows in memory, for this run only."""
        self.parts.append(MemoryRows(rows))

    def write(self, identities: Sequence[bytes], rows: torch.Tensor) -> None:
        """Write a shard with the rows (len(identities), ...) of some images.

        Raises:
            ToolkitError: The disk is full or cannot be written.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ToolkitError(f"Cannot write {self.path}: {error.strerror}.") from error
        entry = self.path / ENTRY_FILE
        if not entry.exists():
            write_text(entry, json.dumps(self._description, indent=2) + "\n")
        packed = torch.from_numpy(np.frombuffer(b"".join(identities), np.uint8).copy()).view(-1, IDENTITY_BYTES)
        shard = self.path / f"{len(rows)}-{secrets.token_hex(8)}.safetensors"
        write_tensors(shard, {"identities": packed, "rows": rows})
        self._read(shard)

    def _read(self, path: Path) -> None:
        shard = Shard(path)
        self._read_names.add(path.name)
        self.parts.append(shard)
        for row, start in enumerate(range(0, len(shard.identities), IDENTITY_BYTES)):
            self._place[shard.identities[start : start + IDENTITY_BYTES]] = self.last_part, row
