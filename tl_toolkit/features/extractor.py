"""Frozen features of a run: from the cache where they are in it, computed and put there where not."""

import importlib.metadata
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from tl_toolkit.config.finetune import FinetuneConfig
from tl_toolkit.data.dataset import ViewDataset
from tl_toolkit.data.loaders import eval_loader, view_loader
from tl_toolkit.data.samples import Samples
from tl_toolkit.data.transforms import Augmentation, FixedView
from tl_toolkit.errors import ToolkitError
from tl_toolkit.events import Callback, DecisionEvent, TaskProgress, WarningEvent
from tl_toolkit.features.batches import EvalFeatures, FeatureBatches, Features, UncachedFeatures, ViewBatchSampler
from tl_toolkit.io.files import display_path, format_size
from tl_toolkit.io.row_cache import RowCache, Rows, cache_folder, default_limit, evict
from tl_toolkit.models.build import BuiltModel
from tl_toolkit.models.frozen_prefix import FrozenPrefix
from tl_toolkit.text import join_names, named
from tl_toolkit.training.device import DeviceSetup
from tl_toolkit.training.loop import Prepare, as_training_error

BATCH = 32
"""Larger ones are no quicker on a CPU and take more memory."""
SHARD_BYTES = 2**26
MEMORY_BYTES = 2**30
"""Features that are not put on disk are held in memory up to here, and beyond computed in every epoch."""

VERSIONS = ("torch", "torchvision", "timm", "pillow")
"""Features of other versions of these are computed anew: they may decode or round differently."""


@dataclass(frozen=True)
class ImagePipeline:
    """How images become the input of a frozen prefix.

    Attributes:
        augmentation: What the crops of further views are made by.
        allow_hflip: Whether images may be mirrored.
        prepare: From a batch of a loader to the network's input.
        workers: Processes that decode.
    """

    augmentation: Augmentation | None
    allow_hflip: bool
    prepare: Prepare
    workers: int


class _NoMemoryError(Exception):
    """The disk could not take what memory cannot hold."""


class FeatureExtractor:
    """What a network's frozen prefix makes of images.

    Args:
        prefix: The prefix.
        config: The run's settings.
        network: What the prefix is of.
        compute: Where and in which precision it runs.
        images: How images are read.
        callback: Told of progress and of where the features are.

    Attributes:
        digest: Of all weights that do not train.
        computed_images: Images that were not in the cache.
    """

    def __init__(
        self,
        prefix: FrozenPrefix,
        config: FinetuneConfig,
        network: BuiltModel,
        compute: DeviceSetup,
        images: ImagePipeline,
        callback: Callback,
    ) -> None:
        self.prefix = prefix
        self._config = config
        self._network = network
        self._compute = compute
        self._images = images
        self._listener = callback
        self._folder = cache_folder()
        self._writable = config.uses_cache
        self._held = 0
        self._stores: dict[int, RowCache] = {}
        self.digest = prefix.digest()
        self.computed_images = 0

    def batches(self, samples: Samples, views: int, order: ViewBatchSampler) -> FeatureBatches | UncachedFeatures:
        """Shuffled batches to train on."""
        features = self._stored("train", samples, views)
        if features:
            return FeatureBatches(features, order, self._compute.device)
        return UncachedFeatures(
            view_loader(self._viewed(samples, views), order, self._images.workers), self._run, order
        )

    def time_image(self, samples: Samples) -> float:
        """Seconds that decoding and the prefix take for an image, measured on a batch of a split."""
        indices = list(range(min(BATCH, len(samples))))
        images = self._viewed(samples, 1)
        for _ in range(2):  # The first time around memory is taken and files are read.
            started = time.perf_counter()
            self._run(torch.stack([pixels for pixels, _ in images.__getitems__([(0, index) for index in indices])]))
            self._compute.wait()
        return (time.perf_counter() - started) / len(indices)

    def why_not_at_once(self, samples: Samples, outputs: int) -> str:
        """Why not all features and logits of a split can be held in memory in float32; empty where they can."""
        row = self._run(self._viewed(samples, 1)[0][0][None])
        needed = len(samples) * (row.numel() + outputs) * torch.float32.itemsize
        return f"all features and logits take {format_size(needed)}" if needed > MEMORY_BYTES else ""

    def in_order(self, split: str, samples: Samples) -> EvalFeatures | UncachedFeatures:
        """Every image of a split once, as it is in prediction."""
        features = self._stored(split, samples, 1)
        if features:
            return EvalFeatures(features, BATCH)
        return UncachedFeatures(eval_loader(self._viewed(samples, 1), BATCH, self._images.workers), self._run)

    def _stored(self, split: str, samples: Samples, views: int) -> Features | None:
        """The features, if they can be held."""
        if not self._config.feature_cache:
            self._tell(split, f"computed whenever they are needed: {named('feature_cache', False)}")
            return None
        identities = samples.identities()
        found = [self._store(view).find(identities) for view in range(views)]
        missing = sum(int((part < 0).sum()) for part, _ in found)
        if missing and (reason := self._no_place(samples, missing, any(identities))):
            self._tell(split, f"computed whenever they are needed: {reason}")
            return None
        done = 0
        rows: list[Rows] = []
        try:
            for view, (part, row) in enumerate(found):
                for count in self._fill(samples, identities, view, part, row):
                    done += count
                    self._listener(TaskProgress("features", done, missing))
                rows.append(Rows(self._store(view).parts, part, row))
        except _NoMemoryError:
            self._tell(split, "computed whenever they are needed: too much for memory")
            return None
        total = views * len(samples)
        cached = self._writable and any(identities)
        where = f"computed once, now in {display_path(self._folder)}" if cached else "computed once, held in memory"
        if missing < total:
            where = f"{'all' if not missing else f'{total - missing:,} of {total:,}'} from {display_path(self._folder)}"
        self._tell(f"{split}, {views} view{'s' if views > 1 else ''}", where)
        return Features(rows, torch.tensor(samples.targets))

    def _no_place(self, samples: Samples, missing: int, storable: bool) -> str:
        """Why so many rows have a place neither on disk nor in memory; empty where they have one."""
        probe = self._viewed(samples, 1)[0][0]
        row = self._run(probe[None])
        needed = missing * row.element_size() * row.numel()
        if self._writable and storable:
            asked = self._config.cache_bytes
            limit = default_limit(self._folder) if asked is None else asked
            try:
                if evict(self._folder, needed, limit, [store.path for store in self._stores.values()]):
                    return ""
            except ToolkitError as error:
                self._give_up(str(error))
            else:
                self._give_up(
                    f"The features take {format_size(needed)}, and {named('cache_size')} is {format_size(limit)}."
                )
        return "" if needed <= MEMORY_BYTES else f"{format_size(needed)} are much for memory, and not kept on disk"

    def _fill(
        self, samples: Samples, identities: Sequence[bytes | None], view: int, part: np.ndarray, row: np.ndarray
    ) -> Iterator[int]:
        """Computes the rows that are missing and notes in `part` and `row` where they are.

        Yields:
            The number of images of each batch when it is done.
        """
        missing = np.flatnonzero(part < 0)
        if not len(missing):
            return
        pending: list[torch.Tensor] = []
        first = 0
        done = 0
        order = [(batch, torch.full_like(batch, view)) for batch in torch.split(torch.from_numpy(missing), BATCH)]
        with as_training_error("features"):
            for images, _ in view_loader(self._viewed(samples, view + 1), order, self._images.workers):
                pending.append(self._run(images).cpu().contiguous())
                done += len(images)
                self.computed_images += len(images)
                if done == len(missing) or sum(rows.nbytes for rows in pending) >= SHARD_BYTES:
                    chunk = missing[first:done]
                    where = self._put(view, samples, [identities[index] for index in chunk], chunk, torch.cat(pending))
                    part[chunk], row[chunk] = where, np.arange(len(chunk))
                    first, pending = done, []
                yield len(images)

    def _put(
        self, view: int, samples: Samples, identities: list[bytes | None], chunk: np.ndarray, rows: torch.Tensor
    ) -> int:
        """Writes rows to the cache, or holds them where this is not possible.

        Returns:
            Their part of the store.

        Raises:
            _NoMemoryError: Too much would be held.
        """
        store = self._store(view)
        known = [identity for identity in identities if identity]
        changed = [index for index, before in zip(chunk, identities, strict=True) if _changed(samples, index, before)]
        if changed:
            self._listener(
                WarningEvent(f"{samples.name(int(changed[0]))} changed while it was read; it is not cached.")
            )
        elif self._writable and len(known) == len(identities):
            try:
                store.write(known, rows)
                return store.last_part
            except ToolkitError as error:
                self._give_up(str(error))
        self._held += rows.nbytes
        if self._held > MEMORY_BYTES:
            raise _NoMemoryError
        store.add_in_memory(rows)
        return store.last_part

    def _give_up(self, why: str) -> None:
        self._writable = False
        self._listener(WarningEvent(f"{why} The run goes on without keeping features on disk."))

    def _store(self, view: int) -> RowCache:
        if view not in self._stores:
            spec, compute, network = self._network.input_spec, self._compute, self._network
            seen = (
                {"view": view, "augment": self._config.augment, "mirror": self._images.allow_hflip} if view else "plain"
            )
            key = {
                "arch": str(network.arch),
                "arch_options": {name: repr(value) for name, value in network.arch.options.items()},
                "prefix": self.digest,
                "input": spec.to_dict(),
                "view": seen,
                "precision": compute.precision,
                "device": compute.device.type,
                "versions": {name: importlib.metadata.version(name) for name in VERSIONS},
            }
            what = (
                f"{network.arch} up to {self.prefix.cut}, {spec.height}x{spec.width} px, {compute.precision}, "
                f"{f'view {view}' if view else 'plain'}"
            )
            self._stores[view] = store = RowCache(self._folder, key, what)
            if store.damaged:
                self._listener(WarningEvent(f"Damaged, and removed from the cache: {join_names(store.damaged)}."))
        return self._stores[view]

    def _viewed(self, samples: Samples, views: int) -> ViewDataset:
        spec, images = self._network.input_spec, self._images
        return ViewDataset(
            samples, [FixedView(spec, images.augmentation, images.allow_hflip, number) for number in range(views)], spec
        )

    def _run(self, images: torch.Tensor) -> torch.Tensor:
        """From a batch of a loader to features."""
        with self._compute.autocast():
            return self.prefix(self._images.prepare(images.to(self._compute.device, non_blocking=True)))

    def _tell(self, split: str, where: str) -> None:
        self._listener(DecisionEvent("features", f"{split}, up to {self.prefix.cut}", where, detail=True))


def _changed(samples: Samples, index: int, before: bytes | None) -> bool:
    return before is not None and samples.images.fingerprint(index) != before
