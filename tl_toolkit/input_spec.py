"""InputSpec: what the pixels must be that a model was trained on."""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

from tl_toolkit.errors import LARGEST, ModelFileError
from tl_toolkit.text import format_value

Crop = Literal["center", "squash", "border"]
Interpolation = Literal["nearest", "bilinear", "bicubic"]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
DECODED_SHARE = 2.5
"""An image is decoded at no less than so many times the model's input, in training and in prediction alike: the
smallest crop of light augmentation, 0.35 of the area, then has as many pixels as the model sees and half as many more.
At 1.75 a linear probe on Caltech-101 lost 0.002 of its val accuracy."""

LARGEST_SIDE = 2**14
"""Pixels of an input that are still believed of a file, and of a setting."""

MIN_CROP, MAX_CROP = 0.05, 2
"""Some networks of timm (volo_d5_512) see more than the image: a crop fraction of 1.15."""


@dataclass(frozen=True, slots=True)
class InputSpec:
    """The preprocessing that belongs to a set of weights.

    Attributes:
        channels: 3 for RGB, 1 for grayscale.
        height: Pixels of the model's input.
        width: Pixels of the model's input.
        mean: Subtracted from each channel of an image in 0..1.
        std: Then divides each channel.
        interpolation: How an image is resized.
        crop: "center" resizes the short side to size / crop_fraction and crops the centre;
            "squash" resizes both sides to that size without keeping the proportions, then crops;
            "border" resizes the long side and pads. The names are timm's (`timm/data/transforms_factory.py`).
        crop_fraction: Share of the resized image that the model sees; above 1, the image gets a border.
    """

    channels: int = 3
    height: int = 224
    width: int = 224
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    interpolation: Interpolation = "bilinear"
    crop: Crop = "center"
    crop_fraction: float = 0.875

    def with_size(self, size: int) -> Self:
        """The same spec for square images of `size` pixels."""
        return dataclasses.replace(self, height=size, width=size)

    def with_channels(self, channels: int) -> Self:
        """The same spec for another number of channels; one channel takes the means of mean and std."""
        if channels == self.channels:
            return self
        mean = (sum(self.mean) / len(self.mean),) * channels
        std = (sum(self.std) / len(self.std),) * channels
        return dataclasses.replace(self, channels=channels, mean=mean, std=std)

    @property
    def resize_to(self) -> tuple[int, int]:
        """Height and width before the crop."""
        return math.floor(self.height / self.crop_fraction), math.floor(self.width / self.crop_fraction)

    @property
    def min_decode_size(self) -> int:
        """Height and width of a decoded image beyond which more pixels are of little use: see `DECODED_SHARE`."""
        return max(*self.resize_to, math.ceil(DECODED_SHARE * max(self.height, self.width)))

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Reads what `to_dict` wrote.

        Raises:
            ModelFileError: A field is unknown or its value makes no sense.
        """
        try:
            spec = cls(**{**values, "mean": tuple(values["mean"]), "std": tuple(values["std"])})
        except (KeyError, TypeError) as error:
            raise ModelFileError(f"This is no InputSpec: {format_value(values)} ({error}).") from error
        spec._check()
        return spec

    def _check(self) -> None:
        sizes = (self.channels, self.height, self.width)
        known = self.crop in ("center", "squash", "border") and self.interpolation in ("nearest", "bilinear", "bicubic")
        if (
            not known
            or not all(type(size) is int and 0 < size <= LARGEST_SIDE for size in sizes)
            or not len(self.mean) == len(self.std) == self.channels
            or not all(isinstance(value, int | float) and abs(value) < LARGEST for value in (*self.mean, *self.std))
            or not all(self.std)
            or not isinstance(self.crop_fraction, int | float)
            or not MIN_CROP <= self.crop_fraction <= MAX_CROP
        ):
            raise ModelFileError(f"This InputSpec makes no sense: {format_value(self.to_dict())}.")
