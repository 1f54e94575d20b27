"""Files that show nothing, or too much."""

import os
import socket
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from tests.corpus import Bad, Kind, picture
from tests.corpus.good import ORIENTATION, gray, write
from tests.corpus.raw import chunk, cmyk_jpeg, jpeg_frame, negative, png, png_header, saved, without_adobe

UNKNOWN = "not an image that Pillow can read"
TOO_MANY = "more than 178,956,970 pixels, too many to decode"
CUT = "|".join(
    (
        UNKNOWN,
        r"image file is truncated.*",
        r"Truncated File Read",
        r"truncated.*",
        r"broken .*",
        r"unrecognized data stream.*",
        r"decoder error.*",
        r"could not create decoder object",
    )
)


def bad_kinds() -> Iterator[Kind]:
    """Everything that must be listed with its reason."""
    yield from _truncated()
    yield from _no_images()
    yield from _bombs()
    yield from _damaged()
    yield from _undefined()
    yield from _no_files()


def _truncated() -> Iterator[Kind]:
    noise = Image.effect_noise((64, 48), 80).convert("RGB")
    files = {
        "jpg": saved(noise, "JPEG"),
        "progressive.jpg": saved(noise, "JPEG", progressive=True),
        "png": saved(noise, "PNG"),
        "webp": saved(noise, "WEBP"),
        "gif": saved(noise.quantize(), "GIF"),
        "tif": saved(noise, "TIFF"),
        "lzw.tif": saved(noise, "TIFF", compression="tiff_lzw"),
        "bmp": saved(noise, "BMP"),
    }
    for ending, data in files.items():
        for tenths in range(1, 10):
            yield Kind(f"cut-{tenths}0.{ending}", write(data[: len(data) * tenths // 10]), Bad(CUT))


def _no_images() -> Iterator[Kind]:
    yield Kind("empty.jpg", Path.touch, Bad("the file is empty"))
    yield Kind("text.jpg", write(b"This is no image.\n" * 20), Bad(UNKNOWN))
    yield Kind("page.jpg", write(b"<!doctype html><title>404</title>"), Bad(UNKNOWN))
    yield Kind("vector.svg", write(b'<svg xmlns="http://www.w3.org/2000/svg"/>'), Bad(UNKNOWN))
    yield Kind("document.jpg", lambda path: picture().save(path, "PDF"), Bad(UNKNOWN))
    yield Kind("archive.jpg", write(b"PK\x03\x04" + bytes(200)), Bad(UNKNOWN))
    yield Kind("zeros.jpg", write(bytes(5000)), Bad(UNKNOWN))
    yield Kind("one-byte.jpg", write(b"\xff"), Bad(UNKNOWN))
    yield Kind("leading-junk.jpg", write(b"junk" + saved(picture(), "JPEG")), Bad(UNKNOWN))
    yield Kind("program.jpg", lambda path: picture().save(path, "EPS"), Bad("EPS is a program that draws, not .*"))


def _bombs() -> Iterator[Kind]:
    yield Kind("bomb.png", write(_png_bomb()), Bad(TOO_MANY))
    yield Kind("bomb-of-one-bit.png", write(_png_bomb(20_000, 1)), Bad(TOO_MANY))
    jpeg = jpeg_frame(saved(picture(), "JPEG"), 65_500, 65_500)
    yield Kind("bomb.jpg", write(jpeg), Bad(TOO_MANY))
    gif = saved(picture(), "GIF")
    yield Kind("bomb.gif", write(gif[:6] + struct.pack("<HH", 65_535, 65_535) + gif[10:]), Bad(TOO_MANY))
    bmp = saved(picture(), "BMP")
    yield Kind("bomb.bmp", write(bmp[:18] + struct.pack("<ii", 100_000, 100_000) + bmp[26:]), Bad(TOO_MANY))
    yield Kind("bomb.ppm", write(b"P6 100000 100000 255\n"), Bad(TOO_MANY))
    text = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(20_000_000)))
    whole = saved(picture(), "PNG")
    yield Kind("bomb-of-text.png", write(whole[:33] + text + whole[33:]), Bad("Decompressed data too large.*"))


def _png_bomb(side: int = 100_000, depth: int = 8) -> bytes:
    packer = zlib.compressobj(9)
    line = bytes(1 + side * depth // 8)
    lines = b"".join(packer.compress(line) for _ in range(min(side, 100))) + packer.flush()
    return png_header(side, side, depth, 0) + chunk(b"IDAT", lines) + chunk(b"IEND", b"")


def _damaged() -> Iterator[Kind]:
    whole = saved(picture(), "PNG")
    yield Kind("header-changed.png", write(whole[:20] + b"\xff" + whole[21:]), Bad(CUT))
    start = whole.index(b"IDAT") + 4
    yield Kind("pixels-changed.png", write(whole[:start] + b"\xff\xff\xff\xff" + whole[start + 4 :]), Bad(CUT))
    yield Kind("zero-wide.png", write(png_header(0, 5, 8, 0) + chunk(b"IEND", b"")), Bad(".+"))
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    yield Kind("cut-and-turned.jpg", write(saved(picture(), "JPEG", exif=exif)[:-200]), Bad(CUT))


def _undefined() -> Iterator[Kind]:
    values = np.asarray(gray())
    reason = "pixels of mode {} have no defined range; save the image with 8 or 16 bits"
    for name, mode in (("32-bit.tif", "I"), ("float.tif", "F")):
        image = Image.fromarray(values.astype(np.int32 if mode == "I" else np.float32) * 1000)
        yield Kind(name, _saver(image, "TIFF"), Bad(reason.format(mode)))
    # Adobe's programs store inks inverted, others do not, and without Adobe's marker nothing says which.
    inks = picture().convert("CMYK")
    for name, stored in (("cmyk-unmarked.jpg", inks), ("cmyk-unmarked-inverted.jpg", negative(inks))):
        yield Kind(name, write(without_adobe(cmyk_jpeg(stored))), Bad("CMYK without Adobe's marker.*"))


def _saver(image: Image.Image, form: str) -> Callable[[Path], object]:
    return lambda path: image.save(path, form)


def _no_files() -> Iterator[Kind]:
    yield Kind("folder.jpg", Path.mkdir, Bad("Is a directory"))
    yield Kind("pipe.jpg", lambda path: os.mkfifo(path), Bad("a named pipe, not a file"))
    yield Kind("socket.jpg", _make_socket, Bad("a socket, not a file"))
    yield Kind("device.jpg", lambda path: path.symlink_to("/dev/zero"), Bad("a device, not a file"))
    yield Kind("dangling.jpg", lambda path: path.symlink_to("nowhere.jpg"), Bad("a link to nothing"))
    yield Kind("loop.jpg", lambda path: path.symlink_to("loop.jpg"), Bad("Too many levels of symbolic links"))
    root = "root may read everything" if os.geteuid() == 0 else ""
    yield Kind("forbidden.jpg", _forbid, Bad("Permission denied"), root)


def _make_socket(path: Path) -> None:
    here = Path.cwd()
    os.chdir(path.parent)  # A socket's path may have some 100 bytes only.
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)
    finally:
        os.chdir(here)


def _forbid(path: Path) -> None:
    path.write_bytes(png(np.zeros((2, 2), np.uint8), 0))
    path.chmod(0)
