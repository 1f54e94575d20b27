"""Small pictures of a report's images: each read once, the most useful first, within bounds of bytes and of time."""

import io
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from PIL import Image

from tl_toolkit.data.images import fingerprint_image, open_image, read_file
from tl_toolkit.data.samples import Samples
from tl_toolkit.errors import DataError, DownloadError, ImageError
from tl_toolkit.io.reader_threads import readers
from tl_toolkit.model_file import FINGERPRINT_BYTES

SIDE = 96
"""Pixels of the short side of a picture."""

MAX_STRETCH = 2
"""The middle of a picture that is longer than this many times its short side is shown."""

QUALITY = 72
CHUNK = 32
"""Images read at a time, after which the time is looked at."""

UNREADABLE, CHANGED, NOT_FOUND = "cannot be read", "has changed since", "is no longer there"

Place = tuple[str, int]
"""An image: its split, and its index among the split's predictions."""


@dataclass(frozen=True)
class FoundImages:
    """The images that a split's predictions are of.

    Attributes:
        samples: Images to read.
        places: Index in `samples` of each prediction; None where its image is not there.
        contents: Fingerprint of each image as it was when it was predicted, to tell a changed one; empty where the
            images have not been out of sight.
        known: Fingerprints of the split where it is not known which image has which; empty for no check.
    """

    samples: Samples
    places: Sequence[int | None]
    contents: Sequence[bytes | None] = ()
    known: frozenset[bytes] = frozenset()

    @classmethod
    def all_of(cls, samples: Samples) -> "FoundImages":
        """Return all images of a split, in their own order."""
        return cls(samples, range(len(samples)))

    def open(self, index: int, channels: int, min_size: int = 0) -> Image.Image:
        """Decode the image of a prediction.

        Raises:
            ImageError: It is not there, has changed, or cannot be read.
        """
        place = self.places[index]
        if place is None:
            raise ImageError(f"image {index}", NOT_FOUND)
        expected = self.contents[index] if self.contents else None
        allowed = self.known if expected is None else {expected}
        if not allowed:
            return self.samples.open(place, channels, min_size)
        name, content = self.samples.name(place), self.samples.read(place)
        try:
            content = read_file(content) if isinstance(content, str | Path) else content
        except (OSError, ValueError) as error:
            raise ImageError(name, UNREADABLE) from error
        found = fingerprint_image(content)
        if found is not None and found[:FINGERPRINT_BYTES] not in allowed:
            raise ImageError(name, CHANGED)
        return open_image(content, channels, name, min_size)


class Pictures:
    """Pictures of images, by split and index.

    Args:
        images: Where the images of each split are.
        channels: As the network takes them: 3, or 1 for grayscale.
        max_bytes: Of all pictures together.
        deadline: `time.monotonic()` from which on no more images are read.

    Attributes:
        no_room: Number of images that were asked for when the bytes were spent.
        no_time: Number of images that were asked for when the time was over.
        problems: Number of images that could not be shown, by the reason.
    """

    def __init__(self, images: Mapping[str, FoundImages], channels: int, max_bytes: int, deadline: float) -> None:
        self._images, self._channels, self._deadline = images, channels, deadline
        self._bytes_left = max_bytes
        self._pictures: dict[Place, bytes | None] = {}
        self.no_room = self.no_time = 0
        self.problems: Counter[str] = Counter()

    def read(self, places: Iterable[Place]) -> None:
        """Read images in this order, as long as there is room and time."""
        wanted = [place for place in dict.fromkeys(places) if place not in self._pictures and place[0] in self._images]
        for start in range(0, len(wanted), CHUNK):
            if self._bytes_left <= 0:
                self.no_room += len(wanted) - start
                return
            if time.monotonic() >= self._deadline:
                self.no_time += len(wanted) - start
                return
            self._read_chunk(wanted[start : start + CHUNK])

    def _read_chunk(self, chunk: Sequence[Place]) -> None:
        for split in dict.fromkeys(split for split, _ in chunk):
            images = self._images[split]
            indices = [index for other, index in chunk if other == split]
            draw = partial(_draw, images, self._channels)
            for index, found in zip(indices, _read_each(images, draw, indices), strict=True):
                picture = found if isinstance(found, bytes) else None
                if picture is None:
                    self.problems[_reason(found)] += 1
                elif len(picture) > self._bytes_left:
                    self._bytes_left, picture = 0, None
                    self.no_room += 1
                else:
                    self._bytes_left -= len(picture)
                self._pictures[split, index] = picture

    def get(self, split: str, index: int) -> bytes | None:
        """Return the picture of an image; None if it was not read."""
        return self._pictures.get((split, index))


def encode(image: Image.Image) -> bytes:
    """Return an image as WebP."""
    file = io.BytesIO()
    image.save(file, "WEBP", quality=QUALITY, method=2)
    return file.getvalue()


def shrink(image: Image.Image, side: int = SIDE) -> Image.Image:
    """Return an image whose short side has that many pixels, or its own where it is smaller.

    A very long one loses its ends: as a whole it would take as much room as many others.
    """
    width, height = image.size
    longest = MAX_STRETCH * min(width, height)
    if max(width, height) > longest:
        left, top = max(0, (width - longest) // 2), max(0, (height - longest) // 2)
        image = image.crop((left, top, left + min(width, longest), top + min(height, longest)))
    scale = side / min(image.size)
    if scale >= 1:
        return image
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    return image.resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0)


def _draw(images: FoundImages, channels: int, index: int) -> bytes:
    return encode(shrink(images.open(index, channels, 2 * SIDE)))


def _read_each(
    images: FoundImages, draw: Callable[[int], bytes], indices: Sequence[int]
) -> Sequence[bytes | ImageError]:
    """Return the picture of each image, or why there is none; a network that is gone is no reason to fail.

    Encoded images are read on all cores; a dataset of the user's own may not stand threads.
    """
    try:
        if images.samples.are_encoded:
            images.samples.images.read_ahead(
                [place for index in indices if (place := images.places[index]) is not None]
            )
            return readers().start(draw, indices).outcomes()
        return [_outcome(draw, index) for index in indices]
    except (DataError, DownloadError) as error:
        return [ImageError(f"image {index}", str(error)) for index in indices]


def _outcome(draw: Callable[[int], bytes], index: int) -> bytes | ImageError:
    try:
        return draw(index)
    except ImageError as error:
        return error


def _reason(error: object) -> str:
    reason = error.reason if isinstance(error, ImageError) else ""
    return reason if reason in (CHANGED, NOT_FOUND) else UNREADABLE
