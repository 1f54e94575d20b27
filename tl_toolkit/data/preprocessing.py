"""Preprocessing: from a decoded image to the numbers that a model expects, by Pillow and numpy alone.

Training and prediction share it: `transforms.EvalTransform` makes tensors of what this computes. Programs that run ONNX
files have no torch.
"""

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tl_toolkit.data.images import extent
from tl_toolkit.input_spec import InputSpec

PILLOW_FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
}
STRIP = 64
"""An image that would be resized to this many times the area of its crop is a strip."""


class Preprocessing:
    """Resize, crop and normalize as an InputSpec says."""

    def __init__(self, spec: InputSpec) -> None:
        self.spec = spec
        self._mean = np.array(spec.mean, np.float32).reshape(-1, 1, 1)
        self._std = np.array(spec.std, np.float32).reshape(-1, 1, 1)

    def pixels(self, image: Image.Image) -> NDArray[np.uint8]:
        """Resize and crop an RGB or grayscale image from `open_image`; return its pixels (C, H, W)."""
        spec = self.spec
        shown = extent(image)
        size = self._size_before_crop(*shown)
        box = (0.0, 0.0, *shown)
        if math.prod(size) > STRIP * math.prod(spec.resize_to):
            # Resize only the crop: the whole of a strip a pixel wide would take gigabytes.
            size, box = _centre(size, (spec.width, spec.height), shown)
        resized = image.resize(size, PILLOW_FILTERS[spec.interpolation], box=box)
        return to_array(_crop_centre(resized, spec.width, spec.height))

    def normalize(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the network's input of images (N, C, H, W) or (C, H, W): the bits of `transforms.Normalize`."""
        return (images.astype(np.float32) / np.float32(255) - self._mean) / self._std

    def visible_share(self, image: Image.Image) -> float:
        """Return the share of an image's area that the crop leaves."""
        width, height = self._size_before_crop(*extent(image))
        return min(self.spec.width, width) * min(self.spec.height, height) / (width * height)

    def _size_before_crop(self, width: float, height: float) -> tuple[int, int]:
        wanted_height, wanted_width = self.spec.resize_to
        if self.spec.crop == "squash":
            return wanted_width, wanted_height
        scales = (wanted_height / height, wanted_width / width)
        scale = max(scales) if self.spec.crop == "center" else min(scales)
        return max(1, round(width * scale)), max(1, round(height * scale))


def _centre(
    size: tuple[int, int], most: tuple[int, int], shown: tuple[float, float]
) -> tuple[tuple[int, int], tuple[float, float, float, float]]:
    """Return the centre of an image that is to be resized.

    Args:
        size: Width and height of the whole image after resizing.
        most: Largest width and height of the centre.
        shown: Width and height of the whole image before resizing.

    Returns:
        Width and height of the centre after resizing; its left, top, right and bottom before resizing.
    """
    inner = (min(size[0], most[0]), min(size[1], most[1]))
    first = [round((whole - part) / 2) for whole, part in zip(size, inner, strict=True)]
    left, top = (start * now / then for start, now, then in zip(first, shown, size, strict=True))
    # Rounding must not lead out of the image.
    right, bottom = (
        min(now, (start + part) * now / then) for start, part, now, then in zip(first, inner, shown, size, strict=True)
    )
    return inner, (left, top, right, bottom)


def _crop_centre(image: Image.Image, width: int, height: int) -> Image.Image:
    """Cut the centre out of an image, with black beside it where the image is smaller.

    torchvision's center_crop to the pixel, on which side an odd one is left out or added included.
    """
    left, top = (
        -((part - whole) // 2) if part > whole else round((whole - part) / 2)
        for whole, part in ((image.width, width), (image.height, height))
    )
    return image.crop((left, top, left + width, top + height))


def to_array(image: Image.Image) -> NDArray[np.uint8]:
    """Return a copy of an RGB or grayscale image as uint8 (C, H, W)."""
    array = np.array(image)
    return array[None] if array.ndim == 2 else np.ascontiguousarray(array.transpose(2, 0, 1))
