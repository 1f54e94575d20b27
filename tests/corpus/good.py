"""Files that show something, in every format and mode."""

import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image, features

from tests.corpus import BLACK, BLUE, GREEN, LOSSY, RED, WHITE, YELLOW, Four, Good, Kind, picture
from tests.corpus.raw import as_ycck, cmyk_jpeg, negative, png, saved

GRAYS = (0, 85, 170, 255)
GRAY_QUADRANTS: Four = tuple((gray, gray, gray) for gray in GRAYS)
BLACK_AND_WHITE: Four = (BLACK, WHITE, WHITE, BLACK)
LAST_WHITE: Four = (RED, GREEN, BLUE, WHITE)
"""The picture with its last quarter transparent."""

HALF_YELLOW: Four = (RED, GREEN, BLUE, (255, 255, 127))
UNDO = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}
"""The Image.Transpose that undoes each EXIF orientation."""

LARGE = (1000, 800)
SECOND = (WHITE, WHITE, WHITE, WHITE)
ORIENTATION = 0x0112


def good_kinds() -> Iterator[Kind]:
    """Everything that must be decoded."""
    yield from _jpeg()
    yield from _cmyk()
    yield from _turned()
    yield from _png()
    yield from _sixteen_bits()
    yield from _animated()
    yield from _tiff()
    yield from _other_formats()
    yield from _odd_files()
    yield from _shapes()


def write(data: bytes) -> Callable[[Path], object]:
    """Writes these bytes."""
    return lambda path: path.write_bytes(data)


def gray() -> Image.Image:
    """Four quarters from black to white."""
    return picture(GRAY_QUADRANTS).convert("L")


def with_alpha(alpha: int = 0) -> Image.Image:
    """The picture, its last quarter this opaque."""
    image = picture().convert("RGBA")
    image.paste((*YELLOW, alpha), (24, 16, 48, 32))
    return image


def _kind(name: str, image: Image.Image, form: str, expected: Good | None = None, **options: object) -> Kind:
    return Kind(name, lambda path: image.save(path, form, **options), expected or Good())


def _jpeg() -> Iterator[Kind]:
    lossy = Good(tolerance=LOSSY)
    yield _kind("plain.jpg", picture(), "JPEG", lossy, quality=95)
    yield _kind("progressive.jpg", picture(), "JPEG", lossy, quality=95, progressive=True)
    yield _kind("subsampled.jpg", picture(), "JPEG", lossy, quality=95, subsampling=2)
    yield _kind("restart-markers.jpg", picture(), "JPEG", lossy, quality=95, restart_marker_rows=1)
    yield _kind("adobe-rgb.jpg", picture(), "JPEG", lossy, quality=95, keep_rgb=True)
    yield _kind("gray.jpg", gray(), "JPEG", Good(GRAY_QUADRANTS, tolerance=LOSSY), quality=95)
    yield _kind("profile.jpg", picture(), "JPEG", lossy, quality=95, icc_profile=bytes(200_000))
    yield _kind("large.jpg", picture(size=LARGE), "JPEG", Good(size=LARGE, tolerance=LOSSY), quality=95)
    two = [picture(SECOND)]
    yield _kind("two-pictures.mpo", picture(), "MPO", lossy, save_all=True, append_images=two, quality=95)


def _cmyk() -> Iterator[Kind]:
    lossy = Good(tolerance=LOSSY)
    inks = picture().convert("CMYK")
    inverted = negative(inks)
    yield Kind("cmyk-adobe-inverted.jpg", write(cmyk_jpeg(inverted)), lossy)
    # YCCK is YCbCr of the three inks, as they would be stored, and black as it is stored.
    cyan, magenta, yellow, black = inks.split()
    channels = Image.merge("RGB", (cyan, magenta, yellow)).convert("YCbCr").split()
    stored = Image.merge("CMYK", (*channels, Image.eval(black, lambda ink: 255 - ink)))
    yield Kind("ycck.jpg", write(as_ycck(cmyk_jpeg(stored))), lossy)
    yield _kind("cmyk.tif", inks, "TIFF")


def _turned() -> Iterator[Kind]:
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[ORIENTATION] = orientation
        stored, large = picture(), picture(size=LARGE)
        if orientation in UNDO:
            stored, large = (image.transpose(Image.Transpose(UNDO[orientation])) for image in (stored, large))
        yield _kind(f"exif-{orientation}.jpg", stored, "JPEG", Good(tolerance=LOSSY), quality=95, exif=exif)
        yield _kind(f"exif-{orientation}.png", stored, "PNG", exif=exif)
        if orientation in (6, 7):  # Decoded at a reduced scale, and then turned.
            expected = Good(size=LARGE, tolerance=LOSSY)
            yield _kind(f"exif-{orientation}-large.jpg", large, "JPEG", expected, quality=95, exif=exif)
        if orientation == 6:
            yield _kind("exif-6-palette.png", stored.quantize(4), "PNG", exif=exif)
            yield _kind("exif-6.webp", stored, "WEBP", lossless=True, exif=exif)
            yield _kind("exif-6.tif", stored, "TIFF", exif=exif)
    exif = Image.Exif()
    exif[ORIENTATION] = 77
    yield _kind("exif-77.jpg", picture(), "JPEG", Good(tolerance=LOSSY), quality=95, exif=exif)
    broken = b"Exif\0\0II*\0\x08\0\0\0\xff\xff\xff"
    yield _kind("exif-broken.jpg", picture(), "JPEG", Good(tolerance=LOSSY), quality=95, exif=broken)


def _png() -> Iterator[Kind]:
    yield _kind("rgb.png", picture(), "PNG")
    yield _kind("gray.png", gray(), "PNG", Good(GRAY_QUADRANTS))
    yield _kind("1-bit.png", picture(BLACK_AND_WHITE).convert("1"), "PNG", Good(BLACK_AND_WHITE))
    palette = picture().quantize(4)
    yield _kind("palette-2-bits.png", palette, "PNG", bits=2)
    yield _kind("palette.png", picture().quantize(4), "PNG", bits=8)
    last = palette.getpixel((40, 24))
    yield _kind("palette-one-transparent.png", palette, "PNG", Good(LAST_WHITE), transparency=last)
    alphas = bytes(128 if index == last else 255 for index in range(4))
    yield _kind("palette-half-transparent.png", palette, "PNG", Good(HALF_YELLOW), transparency=alphas)
    yield _kind("rgba.png", with_alpha(), "PNG", Good(LAST_WHITE))
    yield _kind("rgba-half.png", with_alpha(128), "PNG", Good(HALF_YELLOW))
    yield _kind("rgb-one-transparent.png", picture(), "PNG", Good(LAST_WHITE), transparency=YELLOW)
    half = gray().convert("LA")
    half.putalpha(128)
    yield _kind("gray-and-alpha.png", half, "PNG", Good(tuple(((128 + g // 2,) * 3) for g in GRAYS)))
    first_white = Good((WHITE, *GRAY_QUADRANTS[1:]))
    yield _kind("gray-one-transparent.png", gray(), "PNG", first_white, transparency=0)
    one_bit = picture(BLACK_AND_WHITE).convert("1")
    all_white = Good((WHITE,) * 4)
    yield _kind("1-bit-transparent.png", one_bit, "PNG", all_white, transparency=0)


def _sixteen_bits() -> Iterator[Kind]:
    wide = np.asarray(gray()).astype(np.uint16) * 257
    colour = np.asarray(picture()).astype(np.uint16) * 257
    expected = Good(GRAY_QUADRANTS)
    yield Kind("16-bit-gray.png", write(png(wide, 0)), expected)
    white = Good((*GRAY_QUADRANTS[:1], WHITE, *GRAY_QUADRANTS[2:]))
    yield Kind("16-bit-gray-one-transparent.png", write(png(wide, 0, [(b"tRNS", b"\x55\x55")])), white)
    alpha = np.full_like(wide, 65535)
    alpha[16:, 24:] = 0
    yield Kind("16-bit-gray-and-alpha.png", write(png(np.dstack([wide, alpha]), 4)), expected)
    yield Kind("16-bit-rgb.png", write(png(colour, 2)), Good())
    yield Kind("16-bit-rgba.png", write(png(np.dstack([colour, alpha]), 6)), Good(LAST_WHITE))
    yield _kind("16-bit.tif", Image.fromarray(wide), "TIFF", expected)
    big_endian = Image.frombytes("I;16B", gray().size, wide.astype(">u2").tobytes())
    yield _kind("16-bit-big-endian.tif", big_endian, "TIFF", expected)
    header = b"P5 48 32 65535\n"
    yield Kind("16-bit.pgm", write(header + wide.astype(">u2").tobytes()), expected)
    yield Kind("12-bit.pgm", write(b"P5 48 32 4095\n" + (wide // 257 * 4095.0 / 255).astype(">u2").tobytes()), expected)
    yield _kind("16-bit.jp2", Image.fromarray(wide), "JPEG2000", expected)


def _animated() -> Iterator[Kind]:
    frames = {"save_all": True, "append_images": [picture(SECOND)]}
    yield _kind("plain.gif", picture(), "GIF")
    yield _kind("animated.gif", picture(), "GIF", **frames)
    yield _kind("transparent.gif", with_alpha(), "GIF", Good(LAST_WHITE))
    yield _kind("lossless.webp", picture(), "WEBP", lossless=True)
    yield _kind("lossy.webp", picture(), "WEBP", Good(tolerance=40), quality=95)  # Its chroma is always subsampled.
    yield _kind("alpha.webp", with_alpha(128), "WEBP", Good(HALF_YELLOW), lossless=True)
    yield _kind("animated.webp", picture(), "WEBP", lossless=True, **frames)
    yield _kind("animated.png", picture(), "PNG", **frames)


def _tiff() -> Iterator[Kind]:
    frames = {"save_all": True, "append_images": [picture(SECOND)]}
    yield _kind("pages.tif", picture(), "TIFF", **frames)
    yield _kind("lzw.tif", picture(), "TIFF", compression="tiff_lzw")
    yield _kind("deflate.tif", picture(), "TIFF", compression="tiff_adobe_deflate")
    yield _kind("jpeg.tif", picture(), "TIFF", Good(tolerance=LOSSY), compression="jpeg", quality=95)
    black_and_white = picture(BLACK_AND_WHITE).convert("1")
    yield _kind("fax.tif", black_and_white, "TIFF", Good(BLACK_AND_WHITE), compression="group4")
    yield _kind("alpha.tif", with_alpha(), "TIFF", Good(LAST_WHITE))
    yield _kind("big.tif", picture(), "TIFF", big_tiff=True)


def _other_formats() -> Iterator[Kind]:
    yield _kind("plain.bmp", picture(), "BMP")
    yield _kind("1-bit.bmp", picture(BLACK_AND_WHITE).convert("1"), "BMP", Good(BLACK_AND_WHITE))
    yield _kind("palette.bmp", picture().quantize(4), "BMP")
    yield _kind("icon.ico", picture(size=(32, 32)), "ICO", Good(size=(32, 32)), sizes=[(32, 32)])
    yield _kind("icon.icns", picture(size=(64, 64)), "ICNS", Good(size=(1024, 1024)))
    yield _kind("plain.ppm", picture(), "PPM")
    yield _kind("1-bit.pbm", picture(BLACK_AND_WHITE).convert("1"), "PPM", Good(BLACK_AND_WHITE))
    yield _kind("plain.tga", picture(), "TGA")
    yield _kind("plain.pcx", picture(), "PCX")
    yield _kind("plain.sgi", picture(), "SGI")
    yield _kind("plain.dds", picture(), "DDS")
    yield _kind("plain.jp2", picture(), "JPEG2000")
    avif = "" if features.check("avif") else "this Pillow has no AVIF"
    yield Kind(
        "plain.avif",
        lambda path: picture().save(path, "AVIF", quality=95, subsampling="4:4:4"),
        Good(tolerance=LOSSY),
        avif,
    )
    heic = "" if importlib.util.find_spec("pillow_heif") else "pillow-heif is not installed"
    yield Kind("plain.heic", lambda path: save_heic(picture(), path), Good(tolerance=LOSSY), heic)
    turned = picture().transpose(Image.Transpose(UNDO[6]))
    yield Kind("turned.heic", lambda path: save_heic(turned, path, 6), Good(tolerance=LOSSY), heic)
    yield Kind("really-a.heic.jpg", lambda path: save_heic(picture(), path), Good(tolerance=LOSSY), heic)


def save_heic(image: Image.Image, path: Path, orientation: int = 1) -> None:
    """Writes a HEIC file as a phone does, with the orientation in it twice: in the container and in EXIF."""
    import pillow_heif

    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    file = pillow_heif.from_pillow(image)
    file.info["exif"] = exif.tobytes()
    with path.open("wb") as stream:
        file.save(stream, quality=95)


def _odd_files() -> Iterator[Kind]:
    jpeg = saved(picture(), "JPEG", quality=95)
    lossy = Good(tolerance=LOSSY)
    yield Kind("trailing-junk.jpg", write(jpeg + b"junk" * 1000), lossy)
    standard = jpeg.replace(b"\xff\xc4", b"\xff\xe5")  # Decoders know the tables that most files have.
    yield Kind("without-tables.jpg", write(standard), lossy)
    yield Kind("trailing-junk.png", write(saved(picture(), "PNG") + b"junk" * 1000), Good())
    yield Kind("really-a.png.jpg", write(saved(picture(), "PNG")), Good())
    yield Kind("really-a.jpg.png", write(jpeg), lossy)
    yield Kind("no-ending", write(jpeg), lossy)
    yield Kind("notes.txt", write(saved(picture(), "PNG")), Good())
    yield Kind("link.jpg", lambda path: path.symlink_to("plain.jpg"), lossy)


def _shapes() -> Iterator[Kind]:
    red = (RED,) * 4
    for width, height in ((1, 1), (1, 10_000), (10_000, 1), (2, 65_000)):
        size = (width, height)
        yield _kind(f"{width}x{height}.png", Image.new("RGB", size, RED), "PNG", Good(red, size))
        yield _kind(f"{width}x{height}.jpg", Image.new("RGB", size, RED), "JPEG", Good(red, size, LOSSY), quality=95)
