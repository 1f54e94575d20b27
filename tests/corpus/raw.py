"""Bytes of image files that no library writes."""

import io
import struct
import zlib
from collections.abc import Sequence

import numpy as np
from PIL import Image

PNG_START = b"\x89PNG\r\n\x1a\n"
APP14 = b"\xff\xee"
"""Adobe's marker: it says how the channels of a JPEG file are meant."""

ADOBE_TRANSFORM = 15
"""Where in its segment it says so: after the marker, the length, "Adobe", a version and two flags."""


def saved(image: Image.Image, form: str, **options: object) -> bytes:
    """What Pillow writes."""
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def chunk(kind: bytes, content: bytes) -> bytes:
    """A chunk of a PNG file."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png_header(width: int, height: int, depth: int, colour_type: int) -> bytes:
    """The beginning of a PNG file."""
    return PNG_START + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0))


def png(pixels: np.ndarray, colour_type: int, extra: Sequence[tuple[bytes, bytes]] = ()) -> bytes:
    """A PNG file of eight or sixteen bits.

    Args:
        pixels: uint8 or uint16 (H, W) or (H, W, C).
        colour_type: 0 is gray, 2 RGB, 4 gray and alpha, 6 RGBA.
        extra: Kinds and contents of chunks between header and pixels.
    """
    depth = pixels.dtype.itemsize * 8
    rows = pixels.astype(f">u{pixels.dtype.itemsize}").reshape(len(pixels), -1)
    lines = b"".join(b"\0" + row.tobytes() for row in rows)
    return b"".join(
        (
            png_header(pixels.shape[1], pixels.shape[0], depth, colour_type),
            *(chunk(kind, content) for kind, content in extra),
            chunk(b"IDAT", zlib.compress(lines)),
            chunk(b"IEND", b""),
        )
    )


def negative(image: Image.Image) -> Image.Image:
    """255 minus every channel."""
    return Image.frombytes(image.mode, image.size, bytes(255 - value for value in image.tobytes()))


def cmyk_jpeg(channels: Image.Image) -> bytes:
    """A JPEG file with just these four channels, and Adobe's marker; Pillow by itself would invert them."""
    return saved(negative(channels), "JPEG", quality=95)


def adobe_segment(data: bytes) -> tuple[int, int]:
    """Begin and end of Adobe's marker in a JPEG file."""
    start = data.index(APP14)
    return start, start + 2 + struct.unpack(">H", data[start + 2 : start + 4])[0]


def without_adobe(data: bytes) -> bytes:
    """The file without Adobe's marker."""
    start, end = adobe_segment(data)
    return data[:start] + data[end:]


def as_ycck(data: bytes) -> bytes:
    """The file with a marker that says: these channels are YCCK."""
    place = adobe_segment(data)[0] + ADOBE_TRANSFORM
    return data[:place] + b"\x02" + data[place + 1 :]


def jpeg_frame(data: bytes, width: int, height: int) -> bytes:
    """The file with another size in its header."""
    place = data.index(b"\xff\xc0") + 5
    return data[:place] + struct.pack(">HH", height, width) + data[place + 4 :]
