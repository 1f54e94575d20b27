"""Decoding: how any image becomes RGB or grayscale pixels, the same in training and in prediction."""

import contextlib
import importlib.metadata
import io
import os
import stat
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Union

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from tl_toolkit.data.pixels import image_from_memory, is_tensor
from tl_toolkit.errors import ImageError
from tl_toolkit.io.fingerprints import IDENTITY_BYTES, fingerprint_content, fingerprint_file
from tl_toolkit.io.reader_threads import begin_file, end_file, reading

if TYPE_CHECKING:
    import torch

for category in (UserWarning, RuntimeWarning):
    # Pillow warns of odd metadata and of many pixels. What can be decoded is an image, the rest is an ImageError.
    warnings.filterwarnings("ignore", category=category, module="PIL")

ImageLike = Union[str, Path, bytes, Image.Image, np.ndarray, "torch.Tensor"]
"""A path, the bytes of an image file, a PIL image, an array (H, W) or (H, W, C), or a tensor (H, W) or (C, H, W)."""

SIXTEEN_BIT_MODES = ("I;16", "I;16L", "I;16B", "I;16N")
UNDEFINED_RANGE_MODES = ("I", "F")
WIDE_FORMAT = "PPM"
"""Pillow reads 16 bits of this format into mode I."""

PROGRAM_FORMAT = "EPS"
"""A program, for which Pillow would start Ghostscript."""

JPEG_FORMATS = ("JPEG", "MPO")
OTHER_FILES = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
"""What a path can be instead of a file; opening it may wait for ever."""

HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
"""Brands of phones' files, after `ftyp` in the fifth byte (ISO/IEC 23008-12)."""

AVIF_BRANDS = (b"avif", b"avis")
HEIF_PACKAGE = "pillow-heif"

TRANSPARENT_MODES = ("RGBA", "LA", "PA", "RGBa", "La")
SIDEWAYS = (5, 6, 7, 8)
"""EXIF orientations that exchange width and height."""

EXTENT = "tl_extent"
NO_BYTES = "the image has no bytes"
WHITE = (255, 255, 255, 255)


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """Size of an image in pixels, before rotation, and Pillow's mode."""

    width: int
    height: int
    mode: str


def open_image(source: ImageLike, channels: int = 3, name: str = "", min_size: int = 0) -> Image.Image:
    """Decode an image into eight bits a channel.

    Apply the EXIF orientation, composite transparency on white, convert palettes, grayscale and CMYK to RGB, scale
    sixteen bits to eight, and take the first frame of an animation.

    Args:
        source: What to decode.
        channels: 3 for mode RGB, 1 for mode L.
        name: What an error calls the image; by default its path.
        min_size: Height and width that are enough. A JPEG file of two, four or eight times this size is decoded at a
            half, a quarter or an eighth of its size, averaging over the pixels left out (DCT scaling). 0 is full size.

    Raises:
        ImageError: The image cannot be read.
    """
    return _decode(source, channels, name, min_size)[0]


def inspect_image(source: ImageLike, name: str = "", min_size: int = 0) -> ImageInfo:
    """Decode an image as `open_image` does, and return its size and mode.

    Raises:
        ImageError: The image cannot be read.
    """
    return _decode(source, 3, name, min_size)[1]


def encoded_size(content: bytes, name: str = "image") -> tuple[int, int]:
    """Return width and height of an image, before rotation, without decoding it.

    Args:
        content: The bytes of an image file.
        name: What an error calls the image.

    Raises:
        ImageError: They are no image.
    """
    with _image_errors(name, content):
        if not content:
            raise ValueError(NO_BYTES)
        with _open_encoded(content) as file:
            return file.size


def is_image_file(path: str) -> bool:
    """Return whether a file is an image by its content, with any name, even if it cannot be decoded.

    Raises:
        OSError: It cannot be read.
    """
    status = os.stat(path)  # noqa: PTH116  # quicker
    if not stat.S_ISREG(status.st_mode):
        return True  # Opening it may wait for ever; reading it reports this.
    try:
        with Image.open(path):
            return True
    except UnidentifiedImageError:
        return _brand(path) in (*HEIF_BRANDS, *AVIF_BRANDS)
    except OSError:
        raise
    except Exception:  # noqa: BLE001  # Plugins raise errors of every type for damaged images.
        return True


def read_file(path: str | Path) -> bytes:
    """Return the bytes of an image file.

    Raises:
        OSError: It cannot be read.
        ValueError: It is no regular file, or is empty.
    """
    with reading(path):
        _check_file(path)
        return Path(path).read_bytes()


def encoded_ending(content: bytes) -> str:
    """Return the ending of a file's name for the bytes of an image, such as "jpg".

    Raises:
        ValueError: They are of no known format.
    """
    if _brand(content) in HEIF_BRANDS:
        return "heic"
    try:
        with Image.open(io.BytesIO(content)) as image:
            image_format = (image.format or "").lower()
    except UnidentifiedImageError as error:
        raise ValueError("not an image that Pillow can read") from error
    return {"jpeg": "jpg"}.get(image_format, image_format)


def heif_version() -> str:
    """Return the version of the package that reads HEIC files; empty if it is not installed."""
    try:
        return importlib.metadata.version(HEIF_PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        return ""


def fingerprint_image(source: object) -> bytes | None:
    """Return a hash of a file's path, size and time, of a file's bytes, or of pixels.

    Returns:
        None for a missing file and for other objects.
    """
    if isinstance(source, str | Path):
        return fingerprint_file(source)
    if isinstance(source, bytes):
        return blake2b(source, digest_size=IDENTITY_BYTES).digest()
    if isinstance(source, Image.Image):
        shown_by = (
            source.getpalette(),
            source.info.get("transparency"),
            source.getexif().get(ExifTags.Base.Orientation),
        )
        return fingerprint_content(source.tobytes() + repr(shown_by).encode(), f"{source.mode} {source.size}")
    if is_tensor(source):
        source = source.detach().cpu().numpy()
    if isinstance(source, np.ndarray):
        return fingerprint_content(source.tobytes(), f"{source.dtype.str} {source.shape}")
    return None


def _decode(source: ImageLike, channels: int, name: str, min_size: int) -> tuple[Image.Image, ImageInfo]:
    with _image_errors(name or (str(source) if is_path(source) else "image"), source):
        if isinstance(source, str | Path):
            begin_file(source)
            try:
                _check_file(source)
                return _decode_encoded(source, channels, min_size)
            finally:
                end_file()
        if isinstance(source, bytes):
            if not source:
                raise ValueError(NO_BYTES)
            return _decode_encoded(source, channels, min_size)
        image = image_from_memory(source)
        return _to_channels(ImageOps.exif_transpose(image), channels), ImageInfo(image.width, image.height, image.mode)


@contextlib.contextmanager
def _image_errors(label: str, source: ImageLike) -> Iterator[None]:
    """Turn what can go wrong in the block into an ImageError.

    Args:
        label: What it calls the image.
        source: The image.
    """
    try:
        yield
    except UnidentifiedImageError as error:
        raise ImageError(label, "not an image that Pillow can read") from error
    except Image.DecompressionBombError as error:
        most = 2 * (Image.MAX_IMAGE_PIXELS or 0)
        raise ImageError(label, f"more than {most:,} pixels, too many to decode") from error
    except FileNotFoundError as error:
        dangling = isinstance(source, str | Path) and os.path.islink(source)  # noqa: PTH114  # A name may be no path.
        raise ImageError(label, "a link to nothing" if dangling else str(error.strerror)) from error
    except OSError as error:
        raise ImageError(label, error.strerror or str(error)) from error
    except Exception as error:  # Decoders raise errors of every type for damaged files.
        raise ImageError(label, str(error) or type(error).__name__) from error


def _check_file(path: str | Path) -> None:
    """Refuse what is no regular file, or an empty one."""
    status = os.stat(path)  # noqa: PTH116  # quicker, and it happens for every image
    if not stat.S_ISREG(status.st_mode) and (what := OTHER_FILES.get(stat.S_IFMT(status.st_mode))):
        raise ValueError(f"{what}, not a file")
    if stat.S_ISREG(status.st_mode) and not status.st_size:
        raise ValueError("the file is empty")


def _decode_encoded(source: str | Path | bytes, channels: int, min_size: int) -> tuple[Image.Image, ImageInfo]:
    with _open_encoded(source) as file:
        if file.format == PROGRAM_FORMAT:
            raise ValueError(f"{PROGRAM_FORMAT} is a program that draws, not an image; save it as PNG")
        if file.mode == "CMYK" and file.format in JPEG_FORMATS and "adobe" not in file.info:
            raise ValueError("CMYK without Adobe's marker: nothing says whether it is inverted; save it as RGB")
        facts = ImageInfo(file.width, file.height, file.mode)
        if min_size:
            file.draft(file.mode, (min_size, min_size))
        shown = _extent(facts, file) if file.size != (facts.width, facts.height) else None
        ImageOps.exif_transpose(file, in_place=True)  # A copy is made below.
        upright: Image.Image = file
        if file.format == WIDE_FORMAT and file.mode == "I":
            upright = Image.fromarray(np.asarray(file).astype(np.uint16))
        image = _to_channels(upright, channels)
        if shown:
            image.info[EXTENT] = shown
        return image, facts


def _open_encoded(source: str | Path | bytes) -> Image.Image:
    """Open an image with Pillow, or a phone's with pillow-heif, which is imported only then."""
    try:
        return Image.open(_readable(source))
    except UnidentifiedImageError:
        brand = _brand(source)
        if brand in AVIF_BRANDS:
            raise ValueError("AVIF, which this Pillow was built without: pip install --upgrade pillow") from None
        if brand not in HEIF_BRANDS:
            raise
    try:
        import pillow_heif
    except ImportError:
        raise ValueError("HEIC, as phones write it: pip install 'tl_toolkit[heic]' to read it") from None
    # Images are decoded on all cores anyway. A thumbnail in the file has other pixels.
    pillow_heif.register_heif_opener(decode_threads=1, thumbnails=False)
    return Image.open(_readable(source))


def _readable(source: str | Path | bytes) -> str | Path | io.BytesIO:
    """Return what Pillow opens."""
    return io.BytesIO(source) if isinstance(source, bytes) else source


def _brand(source: str | Path | bytes) -> bytes:
    """Return the brand of an ISO media file; empty for other files."""
    if isinstance(source, bytes):
        head = source[:12]
    else:
        with open(source, "rb") as file:  # noqa: PTH123  # quicker
            head = file.read(12)
    return head[8:] if head[4:8] == b"ftyp" else b""


def _extent(facts: ImageInfo, file: Image.Image) -> tuple[float, float]:
    """Return width and height of the picture in a file decoded at a reduced scale, in its pixels and turned upright.

    libjpeg rounds the size up, so that the picture may end within a pixel of the last row and column.
    """
    scale = round(facts.width / file.width)
    width, height = facts.width / scale, facts.height / scale
    sideways = file.getexif().get(ExifTags.Base.Orientation, 1) in SIDEWAYS
    return (height, width) if sideways else (width, height)


def extent(image: Image.Image) -> tuple[float, float]:
    """Return width and height of the picture in an image from `open_image`, in pixels; perhaps less than its size."""
    width, height = image.info.get(EXTENT, image.size)
    return width, height


def _to_channels(image: Image.Image, channels: int) -> Image.Image:
    if image.mode in SIXTEEN_BIT_MODES:
        image = _to_eight_bits(image)
    elif image.mode in UNDEFINED_RANGE_MODES:
        raise ValueError(f"pixels of mode {image.mode} have no defined range; save the image with 8 or 16 bits")
    if image.mode in TRANSPARENT_MODES or "transparency" in image.info:
        pixels = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", pixels.size, WHITE), pixels)
    return image.convert("L" if channels == 1 else "RGB")


def _to_eight_bits(image: Image.Image) -> Image.Image:
    """Scale sixteen bits to eight; the value for transparency becomes white."""
    values = np.asarray(image)
    scaled = (values // 257).astype(np.uint8)
    if isinstance(transparent := image.info.get("transparency"), int):
        scaled[values == transparent] = 255
    return Image.fromarray(scaled)


def is_path(source: object) -> bool:
    """Return whether an image is a file rather than pixels in memory."""
    return isinstance(source, str | Path)
