"""Features of a run's images: read from the cache, or computed and stored there."""

import importlib.metadata
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from tl_toolkit.config.finetune import FinetuneConfig
from tl_toolkit.data.dataset import ViewDataset
from tl_toolkit.data.loaders import dealt_eval_loader, eval_loader, view_loader
from tl_toolkit.data.samples import Samples
from tl_toolkit.data.transforms import Augmentation, FixedView
from tl_toolkit.errors import ToolkitError
from tl_toolkit.events import Callback, DecisionEvent, TaskProgress, WarningEvent
from tl_toolkit.features.batches import (
    EvalFeatures,
    FeatureBatches,
    Features,
    GatheredFeatures,
    UncachedFeatures,
    ViewBatchSampler,
)
from tl_toolkit.io.files import display_path, format_size
from tl_toolkit.io.row_cache import RowCache, Rows, cache_folder, default_limit, evict
from tl_toolkit.models.build import BuiltModel
from tl_toolkit.models.frozen_prefix import FrozenPrefix
from tl_toolkit.sampling.division import WHOLE, DealtBatches, DividedBatches, DividedOrder, Division, dealt
from tl_toolkit.system.processes import anywhere, broadcast, gather, is_first, world
from tl_toolkit.text import join_names, named
from tl_toolkit.training.device import DeviceSetup
from tl_toolkit.training.evaluation import Prepare
from tl_toolkit.training.failures import as_training_error

BATCH = 32
"""Larger batches are no faster on a CPU and take more memory."""
SHARD_BYTES = 2**26
MEMORY_BYTES = 2**30
"""Features that are not on disk stay in memory up to this size; more of them are computed again in every epoch."""

VERSIONS = ("torch", "torchvision", "timm", "pillow")
"""Packages whose versions are part of the cache key: other versions may decode or round differently."""


@dataclass(frozen=True)
class ImagePipeline:
    """How images become the input of a frozen prefix.

    Attributes:
        augmentation: The random transform of all views but the first; None without one.
        allow_hflip: Whether images may be mirrored.
        prepare: Turns a batch of a loader into the network's input.
        workers: Worker processes that decode.
    """

    augmentation: Augmentation | None
    allow_hflip: bool
    prepare: Prepare
    workers: int


class _MemoryLimitError(Exception):
    """The features take more than `MEMORY_BYTES`."""


class FeatureExtractor:
    """Computes the features that a network's frozen prefix gives of images, and stores them.

    Features are stored on disk if the cache may be written and takes them, else in memory; if they are too large for
    both, or the user turned the feature cache off, they are computed again in every epoch.

    Args:
        prefix: The frozen prefix.
        config: The run's settings.
        network: The network of the prefix.
        setup: The device and its precision.
        images: How images are read.
        callback: Receives progress, warnings and where the features are.

    Attributes:
        digest: Digest of all weights that do not train.
        computed_images: Number of images that were not in the cache.
    """

    def __init__(
        self,
        prefix: FrozenPrefix,
        config: FinetuneConfig,
        network: BuiltModel,
        setup: DeviceSetup,
        images: ImagePipeline,
        callback: Callback,
    ) -> None:
        self.prefix = prefix
        self.digest = prefix.digest()
        self.computed_images = 0
        self._config, self._network, self._setup = config, network, setup
        self._images, self._callback = images, callback
        self._folder = cache_folder()
        self._disk_allowed = config.uses_cache
        self._memory_used = 0
        self._caches: dict[int, RowCache] = {}

    def train_batches(
        self, samples: Samples, views: int, order: ViewBatchSampler, division: Division = WHOLE
    ) -> FeatureBatches | UncachedFeatures | DividedBatches | GatheredFeatures:
        """Return shuffled batches to train on, or this process's shares of them."""
        features = self._load_or_compute("train", samples, views)
        here = world()
        gathers = not features and division.is_whole and here.size > 1
        if gathers:
            division = Division(here.size, here.rank)
        drawn = order if division.is_whole else DividedOrder(order, division)
        batches: FeatureBatches | UncachedFeatures
        if features:
            batches = FeatureBatches(features, drawn, self._setup.device)
        else:
            order.read_by_shard(samples.images.shards)
            loader = view_loader(self._dataset(samples, views), drawn, self._images.workers)
            batches = UncachedFeatures(loader, self._run_prefix, drawn)
        if division.is_whole:
            return batches
        shares = DividedBatches(batches, len(samples), order.batch_size, len(order), division)
        return GatheredFeatures(shares) if gathers else shares

    def eval_batches(
        self, split: str, samples: Samples, deal: bool = False
    ) -> EvalFeatures | UncachedFeatures | DealtBatches:
        """Return batches of a split in order, each image as it is in prediction.

        Args:
            split: Name of the split.
            samples: Its images.
            deal: Whether each of several processes gets only some of the batches.
        """
        features = self._load_or_compute(split, samples, 1)
        deal = deal and world().size > 1
        if features:
            batches = EvalFeatures(features, BATCH)
            return DealtBatches(EvalFeatures(features, BATCH, dealt(len(batches))), len(batches)) if deal else batches
        dataset, workers = self._dataset(samples, 1), self._images.workers
        if not deal:
            return UncachedFeatures(eval_loader(dataset, BATCH, workers), self._run_prefix)
        own = dealt_eval_loader(dataset, BATCH, workers)
        return DealtBatches(UncachedFeatures(own, self._run_prefix), -(-len(samples) // BATCH))

    def time_image(self, samples: Samples) -> float:
        """Return the seconds that decoding and the prefix take for an image, measured on a batch."""
        keys = [(0, index) for index in range(min(BATCH, len(samples)))]
        dataset = self._dataset(samples, 1)
        for _ in range(2):  # The first pass allocates memory and reads files.
            started = time.perf_counter()
            self._run_prefix(torch.stack([pixels for pixels, _ in dataset.__getitems__(keys)]))
            self._setup.wait()
        return (time.perf_counter() - started) / len(keys)

    def why_too_large(self, samples: Samples, outputs: int) -> str:
        """Return why memory cannot hold all features and logits in float32 at once; empty if it can."""
        size = len(samples) * (self._first_row(samples).numel() + outputs) * torch.float32.itemsize
        return f"all features and logits take {format_size(size)}" if size > MEMORY_BYTES else ""

    def _load_or_compute(self, split: str, samples: Samples, views: int) -> Features | None:
        """Return the features of a split; None if they cannot be stored."""
        if not self._config.feature_cache:
            self._report(split, f"computed whenever they are needed: {named('feature_cache', False)}")
            return None
        fingerprints = samples.identities()
        found = [self._cache(view).find(fingerprints) for view in range(views)]
        lacking = [_lacking_anywhere(part) for part, _ in found]
        missing = sum(map(len, lacking))
        if missing and (reason := self._why_not_stored(samples, missing, any(fingerprints))):
            self._report(split, f"computed whenever they are needed: {reason}")
            return None
        done = 0
        rows: list[Rows] = []
        try:
            for view, (part, row) in enumerate(found):
                for count in self._compute_lacking(samples, fingerprints, view, part, row, lacking[view]):
                    done += count
                    self._callback(TaskProgress("features", min(done, missing), missing))
                rows.append(Rows(self._cache(view).parts, part, row))
        except _MemoryLimitError:
            self._report(split, "computed whenever they are needed: too much for memory")
            return None
        total, folder = views * len(samples), display_path(self._folder)
        if missing < total:
            where = f"{f'{total - missing:,} of {total:,}' if missing else 'all'} from {folder}"
        else:
            on_disk = self._disk_allowed and any(fingerprints)
            where = f"computed once, now in {folder}" if on_disk else "computed once, held in memory"
        self._report(f"{split}, {views} view{'s' if views > 1 else ''}", where)
        return Features(rows, torch.tensor(samples.targets))

    def _why_not_stored(self, samples: Samples, missing: int, cacheable: bool) -> str:
        """Return why neither disk nor memory takes the missing rows; empty if one does. The first process decides."""
        size = missing * self._first_row(samples).nbytes
        reason = self._why_no_room(size, cacheable) if is_first() else ""
        reason, self._disk_allowed = broadcast((reason, self._disk_allowed))
        return reason

    def _why_no_room(self, size: int, cacheable: bool) -> str:
        if self._disk_allowed and cacheable:
            limit = self._config.cache_bytes
            limit = default_limit(self._folder) if limit is None else limit
            try:
                if evict(self._folder, size, limit, [cache.path for cache in self._caches.values()]):
                    return ""
                problem = f"The features take {format_size(size)}, and {named('cache_size')} is {format_size(limit)}."
            except ToolkitError as error:
                problem = str(error)
            self._stop_writing(problem)
        return "" if size <= MEMORY_BYTES else f"{format_size(size)} are too much for memory, and are not on disk"

    def _compute_lacking(
        self,
        samples: Samples,
        fingerprints: Sequence[bytes | None],
        view: int,
        part: np.ndarray,
        row: np.ndarray,
        lacking: np.ndarray,
    ) -> Iterator[int]:
        """Compute and store the rows that any process lacks, each process some of the batches that one would compute.

        Yields:
            The number of images that all processes together computed.

        Raises:
            _MemoryLimitError: The memory of a process would hold too much.
        """
        here = world()
        if here.size == 1:
            yield from self._compute_missing(samples, fingerprints, view, part, row, lacking)
            return
        batches = np.split(lacking, range(BATCH, len(lacking), BATCH))
        firsts = [len(batches) * rank // here.size for rank in range(here.size + 1)]
        own = batches[firsts[here.rank] : firsts[here.rank + 1]]
        too_much = False
        if own and len(lacking):
            part[lacking] = -1
            try:
                for count in self._compute_missing(samples, fingerprints, view, part, row, np.concatenate(own)):
                    yield count * here.size
            except _MemoryLimitError:
                too_much = True
        too_much, in_memory = anywhere(too_much, not self._disk_allowed or not all(fingerprints))
        if too_much:
            raise _MemoryLimitError
        cache = self._cache(view)
        if in_memory:
            self._exchange(cache, part, row, own, max(len(batches) // here.size + 1, 1))
        else:
            cache.refresh()
            part[:], row[:] = cache.find(fingerprints)
        # A machine with a disk of its own lacks what others wrote to theirs.
        yield from self._compute_missing(samples, fingerprints, view, part, row, np.flatnonzero(part < 0))

    def _exchange(
        self, cache: RowCache, part: np.ndarray, row: np.ndarray, own: Sequence[np.ndarray], rounds: int
    ) -> None:
        """Give every process the rows of all, in memory."""
        for number in range(rounds):
            indices = own[number] if number < len(own) else np.empty(0, np.int64)
            rows: torch.Tensor | None = None
            if len(indices):
                rows = Rows(cache.parts, part[indices], row[indices]).take(torch.arange(len(indices)))
            for rank, (others, received) in enumerate(gather((indices, rows))):
                if rank != world().rank and received is not None:
                    cache.add_in_memory(received)
                    part[others], row[others] = cache.last_part, np.arange(len(others))

    def _compute_missing(
        self,
        samples: Samples,
        fingerprints: Sequence[bytes | None],
        view: int,
        part: np.ndarray,
        row: np.ndarray,
        missing: np.ndarray,
    ) -> Iterator[int]:
        """Compute and store the rows of the images at `missing`, and write their places into `part` and `row`.

        Yields:
            The number of images of each batch.
        """
        if not len(missing):
            return
        order = [(batch, torch.full_like(batch, view)) for batch in torch.split(torch.from_numpy(missing), BATCH)]
        pending: list[torch.Tensor] = []
        stored = done = 0
        with as_training_error("features"):
            for images, _ in view_loader(self._dataset(samples, view + 1), order, self._images.workers):
                pending.append(self._run_prefix(images).cpu().contiguous())
                done += len(images)
                self.computed_images += len(images)
                if done == len(missing) or sum(rows.nbytes for rows in pending) >= SHARD_BYTES:
                    chunk = missing[stored:done]
                    part[chunk] = self._store_rows(samples, fingerprints, view, chunk, torch.cat(pending))
                    row[chunk] = np.arange(len(chunk))
                    stored, pending = done, []
                yield len(images)

    def _store_rows(
        self, samples: Samples, fingerprints: Sequence[bytes | None], view: int, chunk: np.ndarray, rows: torch.Tensor
    ) -> int:
        """Write the rows of the images at `chunk` to disk if possible, else put them into memory.

        Returns:
            Their part of the cache.

        Raises:
            _MemoryLimitError: Memory would hold too much.
        """
        cache = self._cache(view)
        known = [fingerprint for index in chunk if (fingerprint := fingerprints[index])]
        changed = [index for index in chunk if _has_changed(samples, index, fingerprints[index])]
        if changed:
            name = samples.name(int(changed[0]))
            self._callback(WarningEvent(f"{name} changed while it was read; it is not cached."))
        elif self._disk_allowed and len(known) == len(chunk):
            try:
                cache.write(known, rows)
                return cache.last_part
            except ToolkitError as error:
                self._stop_writing(str(error))
        self._memory_used += rows.nbytes
        if self._memory_used > MEMORY_BYTES:
            raise _MemoryLimitError
        cache.add_in_memory(rows)
        return cache.last_part

    def _stop_writing(self, reason: str) -> None:
        self._disk_allowed = False
        self._callback(WarningEvent(f"{reason} The run continues without storing features on disk."))

    def _cache(self, view: int) -> RowCache:
        """Return the cache of a view, opened when it is first needed."""
        if view not in self._caches:
            spec, setup, network = self._network.input_spec, self._setup, self._network
            augmented = {"view": view, "augment": self._config.augment, "mirror": self._images.allow_hflip}
            key = {
                "arch": str(network.arch),
                "arch_options": {name: repr(value) for name, value in network.arch.options.items()},
                "prefix": self.digest,
                "input": spec.to_dict(),
                "view": augmented if view else "plain",
                "precision": setup.precision,
                "device": setup.device.type,
                "versions": {name: importlib.metadata.version(name) for name in VERSIONS},
            }
            what = (
                f"{network.arch} up to {self.prefix.cut}, {spec.height}x{spec.width} px, {setup.precision}, "
                f"{f'view {view}' if view else 'plain'}"
            )
            self._caches[view] = cache = RowCache(self._folder, key, what)
            if cache.damaged:
                removed = join_names(cache.damaged)
                self._callback(WarningEvent(f"Damaged, and removed from the cache: {removed}."))
        return self._caches[view]

    def _dataset(self, samples: Samples, views: int) -> ViewDataset:
        spec, images = self._network.input_spec, self._images
        transforms = [FixedView(spec, images.augmentation, images.allow_hflip, view) for view in range(views)]
        return ViewDataset(samples, transforms, spec)

    def _first_row(self, samples: Samples) -> torch.Tensor:
        """Return the features of the first image, (1, ...)."""
        return self._run_prefix(self._dataset(samples, 1)[0][0][None])

    def _run_prefix(self, images: torch.Tensor) -> torch.Tensor:
        """Return the features of a batch of a loader."""
        with self._setup.autocast():
            return self.prefix(self._images.prepare(images.to(self._setup.device, non_blocking=True)))

    def _report(self, split: str, where: str) -> None:
        self._callback(DecisionEvent("features", f"{split}, up to {self.prefix.cut}", where, detail=True))


def _lacking_anywhere(part: np.ndarray) -> np.ndarray:
    """Return the places at which this process or another has no row."""
    if world().size == 1:
        return np.flatnonzero(part < 0)
    lacking = np.zeros(len(part), bool)
    for other in gather(np.flatnonzero(part < 0)):
        lacking[other] = True
    return np.flatnonzero(lacking)


def _has_changed(samples: Samples, index: int, before: bytes | None) -> bool:
    return before is not None and samples.images.fingerprint(index) != before
