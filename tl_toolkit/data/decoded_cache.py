"""Decoded images in memory, so that the next epoch does not decode them again."""

import threading

from PIL import Image

PIXEL_BYTES = 4
"""Pillow stores an RGB pixel in four bytes."""


class DecodedImageCache:
    """The first decoded images, up to `max_bytes`.

    An epoch shows every image once, so that none is worth more than another: nothing is evicted.
    """

    def __init__(self, max_bytes: int) -> None:
        self._images: dict[int, Image.Image] = {}
        self._left = max_bytes
        self._adding = threading.Lock()

    def get(self, index: int) -> Image.Image | None:
        """Return the image of a sample, if it is in memory."""
        return self._images.get(index)

    def add(self, index: int, image: Image.Image) -> None:
        """Add an image if there is room; it must not be changed afterwards."""
        taken = image.width * image.height * PIXEL_BYTES
        with self._adding:
            if taken <= self._left and index not in self._images:
                self._left -= taken
                self._images[index] = image
