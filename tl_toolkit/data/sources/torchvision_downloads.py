"""Downloads of torchvision's dataset classes, over https alone and unpacked with checks."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import URLError

from tl_toolkit.errors import DownloadError
from tl_toolkit.io.archives import decompress, unpack_tar, unpack_zip
from tl_toolkit.io.download import ProgressCallback, download
from tl_toolkit.system.libraries import torchvision

OVER_HTTPS = {
    "http://ai.stanford.edu/": "https://ai.stanford.edu/",
    "http://codh.rois.ac.jp/": "https://codh.rois.ac.jp/",
    "http://data.vision.ee.ethz.ch/": "https://data.vision.ee.ethz.ch/",
    "http://ufldl.stanford.edu/": "https://ufldl.stanford.edu/",
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/": (
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/"
    ),
}
"""Addresses in place of those that torchvision asks over http."""

MD5 = {
    "https://www.robots.ox.ac.uk/~vgg/data/fgvc-aircraft/archives/fgvc-aircraft-2013b.tar.gz": (
        "d4acdd33327262359767eeaa97a4f732"
    ),
}
"""MD5 of the files that torchvision does not check itself."""


@contextlib.contextmanager
def checked_downloads(progress: ProgressCallback | None = None) -> Iterator[None]:
    """Make torchvision's dataset classes download and unpack by `download` and `archives` within the block.

    torchvision itself falls back to http, and unpacks without limits. The first two of the replaced functions of
    torchvision/datasets/utils.py are made to be replaced.
    """

    def fetch(path: str, url: str) -> None:
        place = next((place for place in OVER_HTTPS if url.startswith(place)), None)
        address = url if place is None else OVER_HTTPS[place] + url.removeprefix(place)
        try:
            download(address, Path(path), MD5.get(url), progress, "md5")
        except DownloadError as error:  # The classes try their next address after a URLError alone.
            raise URLError(str(error)) from error

    ours: dict[str, Any] = {
        "_is_remote_location_available": lambda: True,
        "_download_file_from_remote_location": fetch,
        "_decompress": _decompress,
        "_ARCHIVE_EXTRACTORS": {".tar": _unpack_tar, ".zip": _unpack_zip},
    }
    theirs = {name: getattr(torchvision.datasets.utils, name) for name in ours}
    try:
        for name, replacement in ours.items():
            setattr(torchvision.datasets.utils, name, replacement)
        yield
    finally:
        for name, original in theirs.items():
            setattr(torchvision.datasets.utils, name, original)


def _unpack_tar(archive: str | Path, folder: str | Path, compression: str | None) -> None:
    unpack_tar(Path(archive), Path(folder), compression)


def _unpack_zip(archive: str | Path, folder: str | Path, _: str | None) -> None:
    unpack_zip(Path(archive), Path(folder))


def _decompress(packed: str | Path, to: str | Path, remove_finished: bool) -> Path:
    written = decompress(Path(packed), Path(to).parent)
    if remove_finished:
        Path(packed).unlink()
    return written
