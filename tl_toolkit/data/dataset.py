"""Samples, images with their targets, and the Dataset that reads them."""

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from PIL import Image
from torch.utils.data import Dataset, get_worker_info

from tl_toolkit.data.decoded_cache import DecodedImageCache
from tl_toolkit.data.samples import Samples
from tl_toolkit.data.transforms import EvalTransform, FixedView, keyed_random
from tl_toolkit.data.workers import note_image
from tl_toolkit.input_spec import InputSpec
from tl_toolkit.io.reader_threads import readers
from tl_toolkit.sampling.rng import keyed_uniform

AugmentationKey = tuple[int, int]
"""(epoch, index): with the seed, all that a random augmentation depends on. An image that an epoch shows more than once
has a key for each time: its index, and the same with the number of images added once, twice and so on."""


class BatchTransform(Protocol):
    """An augmentation of a whole batch that takes its random numbers from outside."""

    NUM_RANDOM: int
    """Random numbers that an image takes."""

    def __call__(self, images: torch.Tensor, draws: torch.Tensor) -> torch.Tensor:
        """Transforms images (N, C, H, W) by numbers (N, DRAWS) in [0, 1)."""


class ImageDataset(Dataset[tuple[torch.Tensor, int]]):
    """Decoded and transformed samples.

    A sample is asked for by its index, or by (epoch, index). What is random is drawn from (seed, epoch, index)
    alone, so that neither the order nor the number of threads and worker processes changes what comes out.

    Args:
        samples: Images and targets.
        transform: From a PIL image to a uint8 tensor (C, H, W). One with a number `NUM_RANDOM` is also given so many
            random numbers in [0, 1); another may draw from torch's own generator.
        channels: Channels to decode.
        seed: Seed of the augmentation.
        batch_transform: Comes after `transform`.
        min_size: Height and width of an image that are enough for the transform; see `open_image`.
        held: Where decoded images are held; None decodes them whenever they are asked for.

    Raises:
        ImageError: On indexing, the image cannot be read.
    """

    def __init__(
        self,
        samples: Samples,
        transform: Callable[..., torch.Tensor],
        channels: int = 3,
        seed: int = 0,
        batch_transform: BatchTransform | None = None,
        min_size: int = 0,
        held: DecodedImageCache | None = None,
    ) -> None:
        self.samples = samples
        self.transform = transform
        self.channels = channels
        self.seed = seed
        self.batch_transform = batch_transform
        self.min_size = min_size
        self.held = held
        self._draws: int | None = getattr(transform, "NUM_RANDOM", None)

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, key: int | AugmentationKey) -> tuple[torch.Tensor, int]:
        epoch, drawn = key if isinstance(key, tuple) else (0, key)
        index = _index_of(key, len(self))
        target = self.samples.targets[index]
        note_image(index)
        pixels = self._pixels(epoch, drawn)
        note_image(None)
        if self.batch_transform:
            pixels = transform_batch(self.batch_transform, pixels[None], (self.seed, epoch), [drawn])[0]
        return pixels, target

    def __getitems__(self, keys: Sequence[int | AugmentationKey]) -> list[tuple[torch.Tensor, int]]:
        """The samples of a batch.

        Files are decoded on all cores while the network waits: on few cores that is quicker than beside it.

        Raises:
            ImageError: An image cannot be read.
        """
        if get_worker_info() is None and self.samples.are_files:
            return readers().start(self.__getitem__, keys).results()
        return [self[key] for key in keys]

    def _pixels(self, epoch: int, drawn: int) -> torch.Tensor:
        if self._draws is None or not self.samples.deterministic:  # What is random here draws from torch.
            with keyed_random(self.seed, epoch, drawn):
                return self._transformed(epoch, drawn)
        return self._transformed(epoch, drawn)

    def _transformed(self, epoch: int, drawn: int) -> torch.Tensor:
        image = self._open(drawn % len(self))
        if self._draws:
            return self.transform(image, keyed_uniform((self.seed, epoch), [drawn], self._draws)[0])
        return self.transform(image)

    def _open(self, index: int) -> Image.Image:
        image = self.held.get(index) if self.held else None
        if image is None:
            image = self.samples.open(index, self.channels, self.min_size)
            if self.held:
                self.held.add(index, image)
        return image


def eval_images(samples: Samples, spec: InputSpec) -> ImageDataset:
    """Samples as a model sees them in prediction."""
    return ImageDataset(samples, EvalTransform(spec), spec.channels, min_size=spec.min_decode_size)


class ViewDataset(ImageDataset):
    """Samples in several views: asked for by (view, index).

    Args:
        samples: Images and targets.
        views: The transform of each view.
        spec: The model's InputSpec.
    """

    def __init__(self, samples: Samples, views: Sequence[FixedView], spec: InputSpec) -> None:
        super().__init__(samples, views[0], spec.channels, min_size=spec.min_decode_size)
        self.views = views

    def _transformed(self, epoch: int, index: int) -> torch.Tensor:
        return self.views[epoch](self.samples.open(index, self.channels, self.min_size))


class InMemoryDataset(Dataset[tuple[torch.Tensor, int]]):
    """The same for images that are decoded already and held in memory: it gives whole batches.

    Args:
        pixels: uint8 (N, C, H, W), as an `ImageDataset` gives them one by one.
        targets: Class index of each image.
        seed: Seed of the augmentation.
        batch_transform: The augmentation; it gives what it gives in an `ImageDataset`.
    """

    def __init__(
        self,
        pixels: torch.Tensor,
        targets: Sequence[int],
        seed: int = 0,
        batch_transform: BatchTransform | None = None,
    ) -> None:
        self.pixels = pixels
        self.targets = torch.tensor(targets)
        self.seed = seed
        self.batch_transform = batch_transform

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, key: int | AugmentationKey) -> tuple[torch.Tensor, int]:
        pixels, targets = self.__getitems__([key])
        return pixels[0], int(targets[0])

    def __getitems__(self, keys: Sequence[int | AugmentationKey]) -> tuple[torch.Tensor, torch.Tensor]:
        """A batch: pixels (N, C, H, W) and targets (N). All keys are of one epoch, as a loader's batches are."""
        first = keys[0]
        epoch = first[0] if isinstance(first, tuple) else 0
        indices = [_index_of(key, len(self)) for key in keys]
        pixels = self.pixels[indices]
        if self.batch_transform:
            drawn = [key[1] if isinstance(key, tuple) else key for key in keys]
            pixels = transform_batch(self.batch_transform, pixels, (self.seed, epoch), drawn)
        return pixels, self.targets[indices]


def _index_of(key: int | AugmentationKey, images: int) -> int:
    """The image that a key asks for; an index that is out of range stays so."""
    return key[1] % images if isinstance(key, tuple) else key


def transform_batch(
    transform: BatchTransform, pixels: torch.Tensor, key: tuple[int, int], indices: Sequence[int]
) -> torch.Tensor:
    """Transforms images by numbers drawn from (seed, epoch) and their own index."""
    return transform(pixels, torch.from_numpy(keyed_uniform(key, indices, transform.NUM_RANDOM)))
