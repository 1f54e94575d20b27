"""InputSpec: the preprocessing that a model expects."""

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
"""Images are decoded to at least this multiple of the model's input size, in training and prediction alike: the
smallest crop of light augmentation, 0.35 of the area, then has 1.5 times the input's side. At 1.75 a linear probe on
Caltech-101 lost 0.002 of its val accuracy."""

LARGEST_SIDE = 2**14
"""Largest input side in pixels, in a file or a setting."""

MIN_CROP, MAX_CROP = 0.05, 2
"""Some networks of timm (volo_d5_512) see more than the image, with a crop fraction of 1.15."""


@dataclass(frozen=True, slots=True)
class InputSpec:
    """The preprocessing that belongs to a set of weights.

    Attributes:
        channels: 3 for RGB, 1 for grayscale.
        height, width: Size of the input in pixels.
        mean: Subtracted from each channel of an image in 0..1.
        std: Divides each channel afterwards.
        interpolation: Interpolation when resizing.
        crop: "center" resizes the short side to size / crop_fraction and crops the centre;
            "squash" resizes both sides to that size, ignoring the aspect ratio, then crops;
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
        """Return the spec for square images of `size` pixels."""
        return dataclasses.replace(self, height=size, width=size)

    def with_channels(self, channels: int) -> Self:
        """Return the spec for another number of channels, with the averages of mean and std in each."""
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
        """Side of a decoded image beyond which more pixels are of little use: see `DECODED_SHARE`."""
        return max(*self.resize_to, math.ceil(DECODED_SHARE * max(self.height, self.width)))

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Read what `to_dict` wrote.

        Raises:
            ModelFileError: A field is unknown, or its value is invalid.
        """
        try:
            spec = cls(**{**values, "mean": tuple(values["mean"]), "std": tuple(values["std"])})
        except (KeyError, TypeError) as error:
            raise ModelFileError(f"This is not an InputSpec: {format_value(values)} ({error}).") from error
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
            raise ModelFileError(f"This InputSpec is invalid: {format_value(self.to_dict())}.")
