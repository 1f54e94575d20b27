# ruff: noqa: D102  # `ImageSet` documents the methods.
"""Sets of images that can be read in any order: files, pixels in memory, items of a dataset, and parts of them."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Self

from tl_toolkit.data.images import ImageLike, fingerprint_image, is_path


class ImageSet(ABC):
    """Images by index, not yet decoded. A new kind of image needs `__len__` and `read` at least.

    Attributes:
        deterministic: Whether an image is the same whenever it is read; False where reading augments it.
        are_encoded: Whether reading gives image files, by path or as bytes, rather than pixels or items of a dataset.
            They are read and decoded on all cores, and what was found in them is cached by their fingerprints.
    """

    deterministic: bool = True
    are_encoded: bool = False

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def read(self, index: int) -> ImageLike:
        """Return what `open_image` decodes. Any error means that the image cannot be read."""

    def name(self, index: int) -> str:
        """Return what messages and reports call the image; without unreadable images, a seed splits by these names."""
        return f"image {index}"

    def path(self, index: int) -> str | None:  # noqa: ARG002  # for subclasses
        """Return the image's file, or None if it is not a file."""
        return None

    def location(self, index: int) -> str | None:
        """Return the image's file or URL, by which a table can name it; None if it has none."""
        return self.path(index)

    def fingerprint(self, index: int) -> bytes | None:  # noqa: ARG002
        """Return 16 bytes that change when the image changes, without decoding it; None if nothing tells."""
        return None

    @property
    def shards(self) -> Sequence[int] | None:
        """The shard of each image, if it is much quicker to read the images of a shard together; else None.

        Training then reads a few shards at a time; see `shard_order`.
        """
        return None

    def size(self, index: int) -> int | None:  # noqa: ARG002
        """Return the bytes of an encoded image without a path, if they are known without reading it; else None."""
        return None

    def fingerprints(self) -> list[bytes | None]:
        """Return the `fingerprint` of every image."""
        return [self.fingerprint(index) for index in range(len(self))]

    def read_ahead(self, indices: Sequence[int]) -> None:  # noqa: B027  # for subclasses
        """Prepare to read some images soon: those that are far away begin to come."""

    def content_hash(self, index: int) -> bytes | None:  # noqa: ARG002
        """Return 16 bytes of the content of an image without a path; None if it is unknown, or not yet known.

        Of an encoded image this is `fingerprint_image` of its bytes, so that it is the same wherever the image is.
        """
        return None

    def subset(self, indices: Sequence[int]) -> "ImageSet":
        """Return the images at `indices`, in that order."""
        return Subset([(self, index) for index in indices])

    def __add__(self, other: "ImageSet") -> "ImageSet":
        return Subset([(images, index) for images in (self, other) for index in range(len(images))])


class ArrayImages(ImageSet):
    """A list of images in memory, with paths among them or not.

    Args:
        items: PIL images, arrays, tensors or paths.
    """

    def __init__(self, items: Sequence[Any]) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def read(self, index: int) -> ImageLike:
        image: ImageLike = self.items[index]
        return image

    def name(self, index: int) -> str:
        return self.path(index) or super().name(index)

    def path(self, index: int) -> str | None:
        item = self.items[index]
        return str(item) if is_path(item) else None

    def fingerprint(self, index: int) -> bytes | None:
        return fingerprint_image(self.items[index])

    def content_hash(self, index: int) -> bytes | None:
        return self.fingerprint(index)

    def subset(self, indices: Sequence[int]) -> Self:
        return type(self)([self.items[index] for index in indices])


class FileImages(ArrayImages):
    """Image files, by path.

    A list of str: a Path takes six times the memory, and Python's garbage collector looks through them all.
    """

    are_encoded = True


def listed_images(items: Sequence[Any]) -> ArrayImages:
    """Return the images of a list, as files if all of them are paths."""
    return FileImages(items) if all(map(is_path, items)) else ArrayImages(items)


class DatasetImages(ImageSet):
    """Images of a map-style dataset of (image, target) pairs.

    Args:
        dataset: Gives a pair for each index from 0 on.
        deterministic: Whether it gives the same image each time.
    """

    def __init__(self, dataset: Any, deterministic: bool = False) -> None:
        self.dataset = dataset
        self.deterministic = deterministic
        self._content_hashes: dict[int, bytes | None] = {}

    def __len__(self) -> int:
        return len(self.dataset)

    def read(self, index: int) -> ImageLike:
        image: ImageLike = self.dataset[index][0]
        if index not in self._content_hashes:
            self._content_hashes[index] = fingerprint_image(image)
        return image

    def content_hash(self, index: int) -> bytes | None:
        """Return that of the first reading; None before it."""
        return self._content_hashes.get(index)

    def subset(self, indices: Sequence[int]) -> "ImageSet":
        return _DatasetSubset([(self, index) for index in indices])


class Subset(ImageSet):
    """Images of other sets.

    Args:
        places: The set of each image, and its index there.
    """

    def __init__(self, places: Sequence[tuple[ImageSet, int]]) -> None:
        self.places = places
        sets = {id(images): images for images, _ in places}.values()
        self.deterministic = all(images.deterministic for images in sets)
        self.are_encoded = all(images.are_encoded for images in sets)

    def __len__(self) -> int:
        return len(self.places)

    def read(self, index: int) -> ImageLike:
        images, place = self.places[index]
        return images.read(place)

    def name(self, index: int) -> str:
        images, place = self.places[index]
        return images.name(place)

    def path(self, index: int) -> str | None:
        images, place = self.places[index]
        return images.path(place)

    def fingerprint(self, index: int) -> bytes | None:
        images, place = self.places[index]
        return images.fingerprint(place)

    @property
    def shards(self) -> Sequence[int] | None:
        sets = {id(images): images for images, _ in self.places}
        within = {key: images.shards for key, images in sets.items()}
        if any(shards is None for shards in within.values()):
            return None
        numbers: dict[tuple[int, int], int] = {}
        shards = ((id(images), int((within[id(images)] or ())[place])) for images, place in self.places)
        return [numbers.setdefault(shard, len(numbers)) for shard in shards]

    def size(self, index: int) -> int | None:
        images, place = self.places[index]
        return images.size(place)

    def content_hash(self, index: int) -> bytes | None:
        images, place = self.places[index]
        return images.content_hash(place)

    def location(self, index: int) -> str | None:
        images, place = self.places[index]
        return images.location(place)

    def read_ahead(self, indices: Sequence[int]) -> None:
        by_set: dict[int, tuple[ImageSet, list[int]]] = {}
        for images, place in map(self.places.__getitem__, indices):
            by_set.setdefault(id(images), (images, []))[1].append(place)
        for images, places in by_set.values():
            images.read_ahead(places)


class _DatasetSubset(Subset):
    """Some images of a map-style dataset."""

    def name(self, index: int) -> str:
        # Checkpoints fingerprint these names: a subset of a subset counts within the first.
        return f"image {self.places[index][1]}"

    def subset(self, indices: Sequence[int]) -> Subset:
        return _DatasetSubset([(self, index) for index in indices])
