"""From a decoded image to the tensor that a model expects."""

from collections.abc import Callable

import torch
from PIL import Image
from torch import nn
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms.v2 import functional

from tl_toolkit.config import Augment
from tl_toolkit.input_spec import InputSpec

LIGHT_CROP_SCALE = (0.35, 1.0)
STRONG_CROP_SCALE = (0.2, 1.0)
ERASING_PROBABILITY = 0.25
MIRROR_PROBABILITY = 0.5
PAD_SHARE = 8
"""pad-crop moves an image by up to an eighth of its size: 4 of CIFAR's 32 pixels (He et al. 2016, section 4.2)."""


class EvalTransform:
    """Resizes and crops as an InputSpec says: a PIL image becomes a uint8 tensor (C, H, W).

    Args:
        spec: The model's InputSpec.
    """

    def __init__(self, spec: InputSpec) -> None:
        self.spec = spec

    def __call__(self, image: Image.Image) -> torch.Tensor:
        """Transforms one image."""
        size = [self.spec.height, self.spec.width]
        resized = functional.resize(image, self._size_before_crop(image), InterpolationMode(self.spec.interpolation))
        pixels: torch.Tensor = functional.pil_to_tensor(functional.center_crop(resized, size))
        return pixels

    def _size_before_crop(self, image: Image.Image) -> list[int]:
        height, width = self.spec.resize_to
        if self.spec.crop == "squash":
            return [height, width]
        scales = (height / image.height, width / image.width)
        scale = max(scales) if self.spec.crop == "center" else min(scales)
        return [max(1, round(image.height * scale)), max(1, round(image.width * scale))]


def train_transform(spec: InputSpec, augment: Augment, mirror: bool) -> Callable[[Image.Image], torch.Tensor]:
    """The random transform of training: a PIL image becomes a uint8 tensor (C, H, W).

    pad-crop is `PadCrop`, which comes after this transform. light crops between 35 % and all of the area
    (Inception's crop) and mirrors. strong crops from 20 %, mirrors, adds one random operation of TrivialAugment
    (Müller and Hutter 2021) and erases a rectangle in every fourth image (Zhong et al. 2020).

    Args:
        spec: The model's InputSpec.
        augment: How much is random; none and pad-crop are `EvalTransform`.
        mirror: False where left and right matter, as in writing.
    """
    if augment in ("none", "pad-crop"):
        return EvalTransform(spec)
    interpolation = InterpolationMode(spec.interpolation)
    scale = LIGHT_CROP_SCALE if augment == "light" else STRONG_CROP_SCALE
    steps: list[nn.Module] = [v2.RandomResizedCrop((spec.height, spec.width), scale, interpolation=interpolation)]
    if mirror:
        steps.append(v2.RandomHorizontalFlip(MIRROR_PROBABILITY))
    if augment == "strong":
        steps += [v2.TrivialAugmentWide(interpolation=interpolation)]
    steps.append(v2.PILToTensor())
    if augment == "strong":
        steps.append(v2.RandomErasing(ERASING_PROBABILITY))
    transform: Callable[[Image.Image], torch.Tensor] = v2.Compose(steps)
    return transform


class PadCrop:
    """Moves images and mirrors half of them, a whole batch at once; what comes in at the edges is black.

    Args:
        spec: The model's InputSpec.
        mirror: False where left and right matter.
    """

    DRAWS = 3
    """Random numbers that an image takes."""

    def __init__(self, spec: InputSpec, mirror: bool) -> None:
        self.padding = (spec.height // PAD_SHARE, spec.width // PAD_SHARE)
        self.mirror = mirror

    def __call__(self, images: torch.Tensor, draws: torch.Tensor) -> torch.Tensor:
        """Transforms images (N, C, H, W) by numbers (N, 3) in [0, 1): down, right, mirrored."""
        count, channels, height, width = images.shape
        down, right = self.padding
        padded = nn.functional.pad(images, (right, right, down, down))
        rows = (draws[:, 0] * (2 * down + 1)).long()[:, None] + torch.arange(height)
        columns = (draws[:, 1] * (2 * right + 1)).long()[:, None] + torch.arange(width)
        if self.mirror:
            columns = torch.where(draws[:, 2:] < MIRROR_PROBABILITY, columns.flip(1), columns)
        image, channel = torch.arange(count)[:, None, None, None], torch.arange(channels)[:, None, None]
        return padded[image, channel, rows[:, None, :, None], columns[:, None, None, :]]


class Normalize(nn.Module):
    """uint8 images (N, C, H, W) to floats of an InputSpec's mean and std, on whatever device they are."""

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, spec: InputSpec) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(spec.mean).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(spec.std).view(-1, 1, 1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Normalises (N, C, H, W) or (C, H, W)."""
        return (images.float() / 255 - self.mean) / self.std
