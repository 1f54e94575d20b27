# ruff: noqa: D102  # `ImageSet` documents the methods.
"""Images by URL, which are fetched when they are read."""

from collections.abc import Sequence

from tl_toolkit.data.image_sets import ImageSet
from tl_toolkit.data.images import ImageLike
from tl_toolkit.io.remote_files import RemoteFiles


class RemoteImages(ImageSet):
    """Image files elsewhere.

    Args:
        urls: Where they are.
        files: The cache that holds what was fetched.
    """

    are_encoded = True

    def __init__(self, urls: Sequence[str], files: RemoteFiles) -> None:
        self.urls = urls
        self.files = files

    def __len__(self) -> int:
        return len(self.urls)

    def read(self, index: int) -> ImageLike:
        return self.files.read(self.urls[index])

    def read_ahead(self, indices: Sequence[int]) -> None:
        self.files.read_ahead([self.urls[index] for index in indices])

    def name(self, index: int) -> str:
        return self.urls[index]

    def location(self, index: int) -> str | None:
        return self.urls[index]

    def fingerprint(self, index: int) -> bytes | None:
        return self.files.fingerprints([self.urls[index]])[0]

    def fingerprints(self) -> list[bytes | None]:
        return self.files.fingerprints(self.urls)

    def content_hash(self, index: int) -> bytes | None:
        return self.files.content(self.urls[index])

    def subset(self, indices: Sequence[int]) -> "RemoteImages":
        return RemoteImages([self.urls[index] for index in indices], self.files)
