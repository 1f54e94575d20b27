"""Image files."""

import io
from typing import Any

from tests.fuzz.targets.base import Target, only_toolkit_errors, write_file
from tl_toolkit.errors import ModelFileError


def image(data: bytes) -> None:
    """Open an image file, in colour or not, at full or reduced size."""
    from tl_toolkit.data.images import open_image

    path = write_file("image", data[1:])
    shape = data[0] if data else 0
    with only_toolkit_errors():
        channels = 1 if shape & 1 else 3
        opened = open_image(path, channels, min_size=8 if shape & 2 else 0)
        if opened.mode != ("L" if channels == 1 else "RGB"):
            raise ModelFileError(f"mode {opened.mode}")


def _image_seeds() -> list[bytes]:
    import numpy as np
    from PIL import Image

    gradient = np.arange(24 * 16 * 3, dtype=np.uint16).reshape(24, 16, 3) * 57
    eight = (gradient // 257).astype(np.uint8)
    colour = Image.fromarray(eight)
    exif = Image.Exif()
    exif[0x0112] = 6
    pictures: list[tuple[Image.Image, str, dict[str, Any]]] = [
        (colour, "PNG", {}),
        (colour, "PNG", {"exif": exif}),
        (colour.convert("P"), "PNG", {"transparency": 3}),
        (colour.convert("LA"), "PNG", {}),
        (colour.convert("1"), "PNG", {}),
        (Image.fromarray(gradient[:, :, 0]), "PNG", {}),
        (colour, "JPEG", {}),
        (colour.resize((64, 64)), "JPEG", {"exif": exif, "progressive": True}),
        (colour.convert("CMYK"), "JPEG", {}),
        (colour, "GIF", {"save_all": True, "append_images": [colour.rotate(90)]}),
        (colour, "BMP", {}),
        (colour, "TIFF", {"compression": "tiff_lzw"}),
        (colour.convert("CMYK"), "TIFF", {"exif": exif}),
        (Image.fromarray(gradient[:, :, 1]), "TIFF", {}),
        (colour.convert("RGBA"), "WEBP", {}),
        (colour, "PPM", {}),
        (colour, "TGA", {}),
        (colour, "ICO", {"sizes": [(16, 16)]}),
        (colour, "JPEG2000", {}),
    ]
    seeds = []
    for index, (picture, form, options) in enumerate(pictures):
        file = io.BytesIO()
        picture.save(file, form, **options)
        seeds.append(bytes([index % 4]) + file.getvalue())
    return seeds


TARGETS = {
    "image": Target(image, _image_seeds),
}
