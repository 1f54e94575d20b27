"""The datasets: samples decoded and transformed, one by one or from memory."""

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from PIL import Image
from torch.utils.data import Dataset, get_worker_info

from tl_toolkit.data.decoded_cache import DecodedImageCache
from tl_toolkit.data.samples import Samples
from tl_toolkit.data.targets import Targets
from tl_toolkit.data.transforms import EvalTransform, FixedView, keyed_random
from tl_toolkit.data.workers import note_image
from tl_toolkit.input_spec import InputSpec
from tl_toolkit.io.reader_threads import readers
from tl_toolkit.sampling.rng import keyed_uniform

AugmentationKey = tuple[int, int]
"""(epoch, index): with the seed, all that a random augmentation depends on. The n-th time that an epoch shows an image,
from 0, its index has n times the number of images added."""


class BatchTransform(Protocol):
    """An augmentation of a whole batch by `NUM_RANDOM` given random numbers for each image."""

    NUM_RANDOM: int

    def __call__(self, images: torch.Tensor, draws: torch.Tensor) -> torch.Tensor:
        """Transform images (N, C, H, W) by numbers (N, NUM_RANDOM) in [0, 1)."""


DatasetTarget = int | torch.Tensor
"""A class index, or a row of numbers (classes)."""


class ImageDataset(Dataset[tuple[torch.Tensor, DatasetTarget]]):
    """Decoded and transformed samples.

    Indexed by index or (epoch, index). Augmentation depends on (seed, epoch, index) alone, not on the order or the
    number of threads and worker processes. Indexing raises an ImageError if the image cannot be read.

    Args:
        samples: Images and targets.
        transform: From a PIL image to a uint8 tensor (C, H, W). With an attribute `NUM_RANDOM` it also takes as many
            random numbers in [0, 1); without, it may draw from torch's own generator.
        channels: Channels to decode.
        seed: Seed of the augmentation.
        batch_transform: Comes after `transform`.
        min_size: Height and width of an image that are enough for the transform; see `open_image`.
        decoded: Holds decoded images; None decodes them each time.
    """

    def __init__(
        self,
        samples: Samples,
        transform: Callable[..., torch.Tensor],
        channels: int = 3,
        seed: int = 0,
        batch_transform: BatchTransform | None = None,
        min_size: int = 0,
        decoded: DecodedImageCache | None = None,
    ) -> None:
        self.samples = samples
        self.transform = transform
        self.channels = channels
        self.seed = seed
        self.batch_transform = batch_transform
        self.min_size = min_size
        self.decoded = decoded
        self._num_random: int | None = getattr(transform, "NUM_RANDOM", None)

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, key: int | AugmentationKey) -> tuple[torch.Tensor, DatasetTarget]:
        epoch, drawn = key if isinstance(key, tuple) else (0, key)
        index = _index_of(key, len(self))
        target = self._target(index)
        note_image(index)
        pixels = self._pixels(epoch, drawn)
        note_image(None)
        if self.batch_transform:
            pixels = transform_batch(self.batch_transform, pixels[None], (self.seed, epoch), [drawn])[0]
        return pixels, target

    def __getitems__(self, keys: Sequence[int | AugmentationKey]) -> list[tuple[torch.Tensor, DatasetTarget]]:
        """Return the samples of a batch.

        Encoded images are decoded on all cores while the network waits: on few cores that is quicker than beside it.
        """
        self.samples.images.read_ahead([_index_of(key, len(self)) for key in keys])
        if get_worker_info() is None and self.samples.are_encoded:
            return readers().start(self.__getitem__, keys).results()
        return [self[key] for key in keys]

    def _target(self, index: int) -> DatasetTarget:
        target = self.samples.targets[index]
        return target if isinstance(target, int) else torch.from_numpy(target)

    def _pixels(self, epoch: int, drawn: int) -> torch.Tensor:
        if self._num_random is None or not self.samples.deterministic:  # They draw from torch's generator.
            with keyed_random(self.seed, epoch, drawn):
                return self._transformed(epoch, drawn)
        return self._transformed(epoch, drawn)

    def _transformed(self, epoch: int, drawn: int) -> torch.Tensor:
        image = self._open(drawn % len(self))
        if self._num_random:
            return self.transform(image, keyed_uniform((self.seed, epoch), [drawn], self._num_random)[0])
        return self.transform(image)

    def _open(self, index: int) -> Image.Image:
        if self.decoded and (image := self.decoded.get(index)):
            return image
        image = self.samples.open(index, self.channels, self.min_size)
        if self.decoded:
            self.decoded.add(index, image)
        return image


def eval_images(samples: Samples, spec: InputSpec) -> ImageDataset:
    """Return samples as a model sees them in prediction."""
    return ImageDataset(samples, EvalTransform(spec), spec.channels, min_size=spec.min_decode_size)


class ViewDataset(ImageDataset):
    """Samples in several views, indexed by (view, index)."""

    def __init__(self, samples: Samples, views: Sequence[FixedView], spec: InputSpec) -> None:
        super().__init__(samples, views[0], spec.channels, min_size=spec.min_decode_size)
        self.views = views

    def _transformed(self, epoch: int, index: int) -> torch.Tensor:
        return self.views[epoch](self.samples.open(index, self.channels, self.min_size))


class InMemoryDataset(Dataset[tuple[torch.Tensor, DatasetTarget]]):
    """Decoded images in memory, augmented in whole batches as in an `ImageDataset`.

    Args:
        pixels: uint8 (N, C, H, W).
        targets: The target of each image; see `Samples`.
        seed: Seed of the augmentation.
        batch_transform: The augmentation.
    """

    def __init__(
        self,
        pixels: torch.Tensor,
        targets: Targets,
        seed: int = 0,
        batch_transform: BatchTransform | None = None,
    ) -> None:
        self.pixels = pixels
        self.targets = torch.tensor(targets)
        self.seed = seed
        self.batch_transform = batch_transform

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, key: int | AugmentationKey) -> tuple[torch.Tensor, DatasetTarget]:
        pixels, targets = self.__getitems__([key])
        return pixels[0], targets[0] if targets.ndim > 1 else int(targets[0])

    def __getitems__(self, keys: Sequence[int | AugmentationKey]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return pixels (N, C, H, W) and targets (N), or (N, classes), of a batch, whose keys are all of one epoch."""
        first = keys[0]
        epoch = first[0] if isinstance(first, tuple) else 0
        indices = [_index_of(key, len(self)) for key in keys]
        pixels = self.pixels[indices]
        if self.batch_transform:
            drawn = [key[1] if isinstance(key, tuple) else key for key in keys]
            pixels = transform_batch(self.batch_transform, pixels, (self.seed, epoch), drawn)
        return pixels, self.targets[indices]


def _index_of(key: int | AugmentationKey, images: int) -> int:
    """Return the index of a key's image; an index out of range stays so."""
    return key[1] % images if isinstance(key, tuple) else key


def transform_batch(
    transform: BatchTransform, pixels: torch.Tensor, key: tuple[int, int], indices: Sequence[int]
) -> torch.Tensor:
    """Transform images (N, C, H, W) by numbers drawn from a key, (seed, epoch), and their own index."""
    return transform(pixels, torch.from_numpy(keyed_uniform(key, indices, transform.NUM_RANDOM)))
