"""Decoding: how any image becomes RGB or grayscale pixels, the same in training and in prediction."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from tl_toolkit.cache import identity_of_content, identity_of_file
from tl_toolkit.errors import ImageError

ImageLike = str | Path | Image.Image | np.ndarray | torch.Tensor
"""A path, a PIL image, an array (H, W) or (H, W, C), or a tensor (H, W) or (C, H, W)."""

SIXTEEN_BIT_MODES = ("I;16", "I;16L", "I;16B", "I;16N")
UNDEFINED_RANGE_MODES = ("I", "F")
TRANSPARENT_MODES = ("RGBA", "LA", "PA", "RGBa", "La")
TURNED = (5, 6, 7, 8)
"""EXIF orientations that exchange width and height."""

EXTENT = "tl_extent"
WHITE = (255, 255, 255, 255)


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """What a readable image is: its size in pixels, before rotation, and Pillow's mode."""

    width: int
    height: int
    mode: str


def open_image(source: ImageLike, channels: int = 3, name: str = "", at_least: int = 0) -> Image.Image:
    """Decodes an image into eight bits a channel.

    The EXIF orientation is applied; transparency is composited on white; palettes, grayscale and CMYK
    become RGB; sixteen bits are scaled to eight; of an animation the first frame is taken.

    Args:
        source: What to decode.
        channels: 3 gives mode RGB, 1 gives mode L.
        name: What an error calls the image; by default its path.
        at_least: Height and width that are enough. A JPEG file that is twice, four or eight times as large or more
            is decoded at a half, a quarter or an eighth of its size: libjpeg then computes fewer coefficients and
            averages over the pixels that it leaves out (DCT scaling). 0 is full size.

    Raises:
        ImageError: The image cannot be read.
    """
    return _decode(source, channels, name, at_least)[0]


def inspect_image(source: ImageLike, name: str = "", at_least: int = 0) -> ImageFacts:
    """Decodes an image as `open_image` does and tells what it is.

    Raises:
        ImageError: The image cannot be read.
    """
    return _decode(source, 3, name, at_least)[1]


def identity_of(source: object) -> bytes | None:
    """What tells whether an image is still the same: of a file its path, size and time, of pixels themselves.

    Returns:
        None for a file that is not there, and for what is neither.
    """
    if isinstance(source, str | Path):
        return identity_of_file(source)
    if isinstance(source, Image.Image):
        # What else its looks depend on: palette, transparent colour and orientation.
        seen = (source.getpalette(), source.info.get("transparency"), source.getexif().get(ExifTags.Base.Orientation))
        return identity_of_content(source.tobytes() + repr(seen).encode(), f"{source.mode} {source.size}")
    if isinstance(source, torch.Tensor):
        source = source.detach().cpu().numpy()
    if isinstance(source, np.ndarray):
        return identity_of_content(source.tobytes(), f"{source.dtype.str} {source.shape}")
    return None


def _decode(source: ImageLike, channels: int, name: str, at_least: int) -> tuple[Image.Image, ImageFacts]:
    label = name or (str(source) if is_path(source) else "image")
    try:
        if isinstance(source, str | Path):
            with Image.open(source) as file:
                facts = ImageFacts(file.width, file.height, file.mode)
                if at_least:
                    file.draft(file.mode, (at_least, at_least))
                image = _to_channels(ImageOps.exif_transpose(file), channels)
                if file.size != (facts.width, facts.height):
                    image.info[EXTENT] = _extent(facts, file)
                return image, facts
        image = _from_memory(source)
        return _to_channels(ImageOps.exif_transpose(image), channels), ImageFacts(image.width, image.height, image.mode)
    except UnidentifiedImageError as error:
        raise ImageError(label, _unidentified(source)) from error
    except OSError as error:
        raise ImageError(label, error.strerror or str(error)) from error
    except Exception as error:  # Decoders answer damaged files with errors of every type.
        raise ImageError(label, str(error) or type(error).__name__) from error


def _extent(facts: ImageFacts, file: Image.Image) -> tuple[float, float]:
    """Width and height of what a file decoded at a reduced scale shows, in its own pixels and turned upright.

    libjpeg rounds the size up and fills the last row and column, so that the picture may end within a pixel.
    """
    scale = round(facts.width / file.width)
    width, height = facts.width / scale, facts.height / scale
    turned = file.getexif().get(ExifTags.Base.Orientation, 1) in TURNED
    return (height, width) if turned else (width, height)


def extent(image: Image.Image) -> tuple[float, float]:
    """Width and height of what an image shows, in pixels; for one from `open_image` perhaps less than its size."""
    width, height = image.info.get(EXTENT, image.size)
    return width, height


def _to_channels(image: Image.Image, channels: int) -> Image.Image:
    if image.mode in SIXTEEN_BIT_MODES:
        image = Image.fromarray((np.asarray(image).astype(np.uint32) // 257).astype(np.uint8))
    elif image.mode in UNDEFINED_RANGE_MODES:
        raise ValueError(f"pixels of mode {image.mode} have no defined range; save the image with 8 or 16 bits")
    if image.mode in TRANSPARENT_MODES or "transparency" in image.info:
        pixels = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", pixels.size, WHITE), pixels)
    return image.convert("L" if channels == 1 else "RGB")


def _from_memory(source: Image.Image | np.ndarray | torch.Tensor) -> Image.Image:
    if isinstance(source, Image.Image):
        return source
    if isinstance(source, torch.Tensor):
        pixels = source.detach().cpu()
        array = (pixels.permute(1, 2, 0) if pixels.ndim == 3 else pixels).numpy()
    else:
        array = source
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (3, 4)):
        raise ValueError(f"an image of shape {array.shape} has no 1, 3 or 4 channels")
    if np.issubdtype(array.dtype, np.floating):
        if array.size and not (array.min() >= 0 and array.max() <= 1):
            raise ValueError(f"floating-point pixels must lie in 0..1, not {array.min():g}..{array.max():g}")
        array = np.rint(array * 255).astype(np.uint8)
    elif array.dtype == np.uint16:
        array = (array // 257).astype(np.uint8)
    elif array.dtype == bool:
        array = array.astype(np.uint8) * 255
    elif array.dtype != np.uint8:
        raise ValueError(f"pixels of type {array.dtype} have no defined range; use uint8, uint16 or 0..1 floats")
    return Image.fromarray(np.ascontiguousarray(array))


def _unidentified(source: object) -> str:
    """Why Pillow does not know a file."""
    if isinstance(source, str | Path) and Path(source).stat().st_size == 0:
        return "the file is empty"
    return "not an image that Pillow can read"


def is_path(source: object) -> bool:
    """Whether an image is a file rather than pixels in memory."""
    return isinstance(source, str | Path)
