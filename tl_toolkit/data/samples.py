"""Samples: images and their targets, not yet decoded."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, overload

from PIL import Image

from tl_toolkit.data.images import ImageInfo, ImageLike, fingerprint_image, inspect_image, is_path, open_image
from tl_toolkit.errors import ImageError


@dataclass(frozen=True)
class Samples:
    """Images and their targets, not yet decoded.

    Attributes:
        images: Paths, PIL images, arrays or tensors, or a lazy sequence of them.
        targets: Class index of each image.
        fixed: Whether an image is the same whenever it is read. A dataset of the user's own may augment its images.
        contents: For each image that is not the only one with its content, what tells this content, else None; see
            `duplicates.compared`. Empty where nobody looked.
    """

    images: Sequence[Any]
    targets: Sequence[int]
    fixed: bool = True
    contents: Sequence[bytes | None] = ()

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def are_files(self) -> bool:
        """Whether the images are files, rather than pixels or items of a dataset."""
        return isinstance(self.images, list) and bool(self.images) and is_path(self.images[0])

    def name(self, index: int) -> str:
        """The image's path, or its number where it has none."""
        if isinstance(self.images, LazySubset):
            return f"image {self.images.indices[index]}"
        image = self.images[index] if isinstance(self.images, list) else None
        return str(image) if is_path(image) else f"image {index}"

    def open(self, index: int, channels: int, min_size: int = 0) -> Image.Image:
        """Decodes an image; see `open_image`.

        Raises:
            ImageError: It cannot be read.
        """
        return open_image(self._source(index), channels, self.name(index), min_size)

    def inspect(self, index: int, min_size: int = 0) -> ImageInfo:
        """Decodes an image and tells what it is.

        Raises:
            ImageError: It cannot be read.
        """
        return inspect_image(self._source(index), self.name(index), min_size)

    def identities(self) -> list[bytes | None]:
        """What tells of each image whether it is still the same; None where nothing does."""
        if not (self.fixed and isinstance(self.images, list)):
            return [None] * len(self)
        return [fingerprint_image(image) for image in self.images]

    def _source(self, index: int) -> ImageLike:
        """What is to be decoded; a dataset of the user's own may fail here, with any error."""
        try:
            source: ImageLike = self.images[index]
        except Exception as error:
            raise ImageError(self.name(index), str(error) or type(error).__name__) from error
        return source

    def names(self) -> list[str]:
        """`name` of every sample."""
        return [self.name(index) for index in range(len(self))]

    def subset(self, indices: Sequence[int]) -> "Samples":
        """The samples at `indices`, in that order."""
        listed = isinstance(self.images, list)
        images = [self.images[index] for index in indices] if listed else LazySubset(self.images, indices)
        contents = [self.contents[index] for index in indices] if self.contents else ()
        return Samples(images, [self.targets[index] for index in indices], self.fixed, contents)


class LazySubset(Sequence[ImageLike]):
    """Some items of a lazy sequence; nothing is read until it is asked for."""

    def __init__(self, images: Sequence[Any], indices: Sequence[int]) -> None:
        self.images = images
        self.indices = indices

    def __len__(self) -> int:
        return len(self.indices)

    @overload
    def __getitem__(self, index: int) -> ImageLike: ...
    @overload
    def __getitem__(self, index: slice) -> "LazySubset": ...
    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return LazySubset(self.images, self.indices[index])
        return self.images[self.indices[index]]
