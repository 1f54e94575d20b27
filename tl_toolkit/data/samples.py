"""Samples: images and their targets, not yet decoded."""

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from tl_toolkit.data.image_sets import ImageSet
from tl_toolkit.data.images import ImageInfo, ImageLike, inspect_image, open_image
from tl_toolkit.data.targets import Targets, take
from tl_toolkit.errors import DownloadError, ImageError, RemoteFileError


@dataclass(frozen=True)
class Samples:
    """Images and their targets, not yet decoded.

    Attributes:
        images: The images.
        targets: Class index of each image; for several labels an image, and for soft labels, a row of numbers
            (N, classes). See `data/targets.py`.
        groups: For each image, what must not be divided between splits, such as a patient. Empty if nothing is known.
        contents: For each image that shares its content with another, a hash of this content, else None; see
            `with_content_hashes`. Empty if the contents were not compared.
    """

    images: ImageSet
    targets: Targets
    contents: Sequence[bytes | None] = ()
    groups: Sequence[str] = ()

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def deterministic(self) -> bool:
        """Whether an image is the same whenever it is read."""
        return self.images.deterministic

    @property
    def are_encoded(self) -> bool:
        """Whether the images are encoded, as files or bytes, rather than pixels or items of a dataset."""
        return self.images.are_encoded

    def name(self, index: int) -> str:
        """Return the image's path, or its number if it has none."""
        return self.images.name(index)

    def open(self, index: int, channels: int, min_size: int = 0) -> Image.Image:
        """Decode an image; see `open_image`.

        Raises:
            ImageError: It cannot be read.
        """
        return open_image(self.read(index), channels, self.name(index), min_size)

    def inspect(self, index: int, min_size: int = 0) -> ImageInfo:
        """Decode an image and return its size and mode.

        Raises:
            ImageError: It cannot be read.
        """
        return inspect_image(self.read(index), self.name(index), min_size)

    def identities(self) -> list[bytes | None]:
        """Return the fingerprint of each image; None where nothing tells whether it is still the same."""
        if not self.deterministic:
            return [None] * len(self)
        return self.images.fingerprints()

    def read(self, index: int) -> ImageLike:
        """Return an image as it is kept: a path, encoded bytes or pixels.

        Raises:
            ImageError: It cannot be read.
        """
        try:
            return self.images.read(index)
        except RemoteFileError as error:
            raise ImageError(self.name(index), error.reason) from error
        except DownloadError:  # Not of this image: the network is gone.
            raise
        except Exception as error:  # Code of the user's own, which may raise anything.
            raise ImageError(self.name(index), str(error) or type(error).__name__) from error

    def names(self) -> list[str]:
        """Return the `name` of every sample."""
        return [self.name(index) for index in range(len(self))]

    def subset(self, indices: Sequence[int]) -> "Samples":
        """Return the samples at `indices`, in that order."""
        contents = [self.contents[index] for index in indices] if self.contents else ()
        groups = [self.groups[index] for index in indices] if self.groups else ()
        return Samples(self.images.subset(indices), take(self.targets, indices), contents, groups)
