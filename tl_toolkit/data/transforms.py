"""From a decoded image to the tensor that a model expects."""

import contextlib
import math
import threading
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from tl_toolkit.config.choices import Augment
from tl_toolkit.data.images import extent
from tl_toolkit.data.preprocessing import PILLOW_FILTERS, Preprocessing, to_array
from tl_toolkit.input_spec import InputSpec
from tl_toolkit.sampling.rng import keyed_uniform, seed_from

Draws = NDArray[np.float64]
"""Random numbers in [0, 1) for one image."""

CROP_PROPORTIONS = 4 / 3
"""Width by height of the widest crop; the narrowest is the inverse."""

VIEW_KEY = 1
LIGHT_CROP_SCALE = (0.35, 1.0)
STRONG_CROP_SCALE = (0.2, 1.0)
ERASING_PROBABILITY = 0.25
HFLIP_PROBABILITY = 0.5
PAD_SHARE = 8
"""pad-crop moves an image by up to an eighth of its size: 4 of CIFAR's 32 pixels (He et al. 2016, section 4.2)."""


class EvalTransform:
    """Resize and crop as an InputSpec says: from a PIL image to a uint8 tensor (C, H, W)."""

    NUM_RANDOM = 0

    def __init__(self, spec: InputSpec) -> None:
        self._preprocessing = Preprocessing(spec)

    def __call__(self, image: Image.Image) -> torch.Tensor:
        """Transform one image."""
        return torch.from_numpy(self._preprocessing.pixels(image))

    def visible_share(self, image: Image.Image) -> float:
        """Return the share of an image's area that the crop leaves."""
        return self._preprocessing.visible_share(image)


class RandomCrop:
    """Inception's crop (Szegedy et al. 2015, section 6), mirrored half of the time.

    Args:
        spec: The model's InputSpec.
        scale: Smallest and largest share of the image's area.
        allow_hflip: False if left and right matter, as in writing.
    """

    NUM_RANDOM = 5

    def __init__(self, spec: InputSpec, scale: tuple[float, float], allow_hflip: bool) -> None:
        self.size = (spec.width, spec.height)
        self.filter = PILLOW_FILTERS[spec.interpolation]
        self.scale = scale
        self.allow_hflip = allow_hflip

    def __call__(self, image: Image.Image, draws: Draws) -> torch.Tensor:
        """Transform one image by numbers in [0, 1): area, proportions, left, top, mirrored."""
        crop = image.resize(self.size, self.filter, box=self._box(image, draws))
        if self.allow_hflip and draws[4] < HFLIP_PROBABILITY:
            crop = crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        return _to_tensor(crop)

    def _box(self, image: Image.Image, draws: Draws) -> tuple[float, float, float, float]:
        """Return left, top, right and bottom; proportions that do not fit into the image are changed."""
        smallest, largest = self.scale
        whole_width, whole_height = extent(image)
        area = whole_width * whole_height * (smallest + (largest - smallest) * draws[0])
        proportions = math.exp((2 * draws[1] - 1) * math.log(CROP_PROPORTIONS))
        width = min(whole_width, math.sqrt(area * proportions))
        height = min(whole_height, math.sqrt(area / proportions))
        left, top = (whole_width - width) * draws[2], (whole_height - height) * draws[3]
        return left, top, left + width, top + height


class StrongAugmentation:
    """`RandomCrop`, one random operation of TrivialAugment (Müller and Hutter 2021), and erasing.

    A rectangle is erased in every fourth image (Zhong et al. 2020).
    """

    NUM_RANDOM = RandomCrop.NUM_RANDOM + 1

    def __init__(self, spec: InputSpec, allow_hflip: bool) -> None:
        self.crop = RandomCrop(spec, STRONG_CROP_SCALE, allow_hflip)
        from torchvision.transforms import v2  # It brings torch's compiler along, which training needs anyway.

        self.colour = v2.TrivialAugmentWide(interpolation=v2.InterpolationMode(spec.interpolation))
        self.erase = v2.RandomErasing(ERASING_PROBABILITY)

    def __call__(self, image: Image.Image, draws: Draws) -> torch.Tensor:
        """Transform one image by numbers in [0, 1)."""
        crop = self.crop(image, draws)
        with keyed_random(int(draws[-1] * 2**53)):  # torchvision draws from torch's own generator.
            pixels: torch.Tensor = self.erase(self.colour(crop))
        return pixels


Augmentation = RandomCrop | StrongAugmentation


def train_transform(spec: InputSpec, augment: Augment, allow_hflip: bool) -> Augmentation | None:
    """Return the random transform of training, from a PIL image and numbers in [0, 1) to a uint8 tensor (C, H, W).

    Args:
        spec: The model's InputSpec.
        augment: How much is random.
        allow_hflip: False if left and right matter, as in writing.

    Returns:
        None if images are as in prediction, or only changed as batches (`PadCrop`).
    """
    if augment == "light":
        return RandomCrop(spec, LIGHT_CROP_SCALE, allow_hflip)
    return StrongAugmentation(spec, allow_hflip) if augment == "strong" else None


class FixedView:
    """A view for frozen features: the same crop, or none, of every image.

    A view depends on its number alone, so that stored features serve any seed and split.

    Args:
        spec: The model's InputSpec.
        augmentation: Makes the crops; None if every view is the image as in prediction.
        allow_hflip: False if left and right matter.
        number: 0 is the image as in prediction, 1 its mirror image if allowed; then come crops.
    """

    NUM_RANDOM = 0

    def __init__(self, spec: InputSpec, augmentation: Augmentation | None, allow_hflip: bool, number: int) -> None:
        self.plain = EvalTransform(spec)
        self.augmentation = augmentation if number > int(allow_hflip) else None
        self.mirrored = allow_hflip and number == 1 and augmentation is not None
        if self.augmentation:
            self.draws = keyed_uniform((VIEW_KEY,), [number], self.augmentation.NUM_RANDOM)[0]

    def __call__(self, image: Image.Image) -> torch.Tensor:
        """Transform one image."""
        if self.augmentation:
            return self.augmentation(image, self.draws)
        pixels = self.plain(image)
        return pixels.flip(2) if self.mirrored else pixels


class PadCrop:
    """Shift images, with black edges, and mirror half of them, a whole batch at once."""

    NUM_RANDOM = 3

    def __init__(self, spec: InputSpec, allow_hflip: bool) -> None:
        self.padding = (spec.height // PAD_SHARE, spec.width // PAD_SHARE)
        self.allow_hflip = allow_hflip

    def __call__(self, images: torch.Tensor, draws: torch.Tensor) -> torch.Tensor:
        """Transform images (N, C, H, W) by numbers (N, 3) in [0, 1): down, right, mirrored."""
        count, channels, height, width = images.shape
        down, right = self.padding
        padded = nn.functional.pad(images, (right, right, down, down))
        rows = (draws[:, 0] * (2 * down + 1)).long()[:, None] + torch.arange(height)
        columns = (draws[:, 1] * (2 * right + 1)).long()[:, None] + torch.arange(width)
        if self.allow_hflip:
            columns = torch.where(draws[:, 2:] < HFLIP_PROBABILITY, columns.flip(1), columns)
        image, channel = torch.arange(count)[:, None, None, None], torch.arange(channels)[:, None, None]
        return padded[image, channel, rows[:, None, :, None], columns[:, None, None, :]]


class Normalize(nn.Module):
    """From uint8 images (N, C, H, W) to floats of an InputSpec's mean and std, on any device."""

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, spec: InputSpec) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(spec.mean).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(spec.std).view(-1, 1, 1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Normalize (N, C, H, W) or (C, H, W)."""
        return (images.float() / 255 - self.mean) / self.std


def _to_tensor(image: Image.Image) -> torch.Tensor:
    """Return a copy of an RGB or grayscale image as uint8 (C, H, W)."""
    return torch.from_numpy(to_array(image))


_torch_random = threading.RLock()
"""Threads share torch's generator."""


@contextlib.contextmanager
def keyed_random(*key: int) -> Iterator[None]:
    """Make torch's CPU random numbers depend on `key` alone within the block, and restore the generator after it."""
    with _torch_random:
        before = torch.get_rng_state()
        torch.default_generator.manual_seed(seed_from(*key))
        try:
            yield
        finally:
            torch.set_rng_state(before)
