"""Decoded images that stay in memory, so that the next epoch does not decode them again."""

import threading

from PIL import Image

PIXEL_BYTES = 4
"""Pillow keeps a pixel of RGB in four."""


class DecodedImageCache:
    """The first decoded images, as many as a bound allows.

    An epoch shows every image once, so none is worth more than another: what is held stays, and nothing gives way.

    Args:
        most_bytes: How much memory they may take.
    """

    def __init__(self, most_bytes: int) -> None:
        self._images: dict[int, Image.Image] = {}
        self._left = most_bytes
        self._adding = threading.Lock()

    def get(self, index: int) -> Image.Image | None:
        """The image of a sample, where it is held."""
        return self._images.get(index)

    def add(self, index: int, image: Image.Image) -> None:
        """Holds an image where there is room; nobody may change it afterwards."""
        taken = image.width * image.height * PIXEL_BYTES
        with self._adding:
            if taken <= self._left and index not in self._images:
                self._left -= taken
                self._images[index] = image
