"""Shards and the files beside them, in a folder or on a server."""

import re
from collections.abc import Sequence
from pathlib import Path

from tl_toolkit.data.sources.names import SPLIT_FOLDERS
from tl_toolkit.data.sources.shard_files import is_url
from tl_toolkit.data.tar_images import TarFile
from tl_toolkit.errors import DataError, RemoteFileError
from tl_toolkit.io.files import is_file
from tl_toolkit.io.fingerprints import fingerprint_file
from tl_toolkit.io.remote_files import RemoteFiles
from tl_toolkit.text import plural

ABSENT = re.compile(r"\b(403|404|410)\b|no such file")
"""Answers that mean that there is no file; object stores say 403 to who may not list a folder."""


class ShardAccess:
    """Finds and opens shards and the files beside them.

    Args:
        places: Paths, or URLs.
        cache_size: Bound of the cache of remote files, as text.

    Attributes:
        remote: The cache that URLs are fetched into; None for paths.

    Raises:
        DataError: A protocol is not known, or its package is missing.
    """

    def __init__(self, places: Sequence[str], cache_size: str | None) -> None:
        self.remote = RemoteFiles.of_size(cache_size) if is_url(places[0]) else None
        if self.remote:
            self.remote.check(places)

    def local(self, place: str) -> Path:
        """Return a file on this machine, fetched if it is at a URL.

        Raises:
            DownloadError: It cannot be fetched.
        """
        return self.remote.fetch(place) if self.remote else Path(place)

    def find_beside(self, shard: str, name: str) -> str | None:
        """Return the file of a name beside a shard, or above the folder of its split; None if there is none.

        Raises:
            DownloadError: The server or the network is gone.
        """
        folder, _, _ = shard.rpartition("/") if self.remote else (str(Path(shard).parent), "", "")
        parent, _, last = folder.rpartition("/") if self.remote else (str(Path(folder).parent), "", Path(folder).name)
        folders = [folder, *([parent] if last.lower() in SPLIT_FOLDERS else [])]
        return next((place for each in folders if self._is_there(place := f"{each}/{name}")), None)

    def _is_there(self, place: str) -> bool:
        if self.remote is None:
            return is_file(Path(place))
        try:
            self.remote.fetch(place)
        except RemoteFileError as error:
            if ABSENT.search(error.reason):
                return False
            raise
        return True

    def identities(self, places: Sequence[str]) -> list[bytes | None]:
        """Return what changes when a shard does, without fetching it.

        Raises:
            DataError: A URL cannot be fetched.
            DownloadError: The server or the network is gone.
        """
        if self.remote is None:
            return [fingerprint_file(place) for place in places]
        found = self.remote.fingerprints(places)
        if missing := [place for place, identity in zip(places, found, strict=True) if identity is None]:
            try:
                self.remote.fetch(missing[0])
                reason = "the server says nothing of it"
            except RemoteFileError as error:
                reason = error.reason
            raise DataError(
                f"Of {plural(len(places), 'shard')}, {len(missing):,} cannot be fetched; the first is {missing[0]}: "
                f"{reason}. Name those that are there, or see whether the server has them."
            )
        return found

    def tar_file(self, place: str, identity: bytes | None, size: int = 0) -> TarFile:
        """Return a shard; one at a URL is fetched when it is first read.

        Args:
            place: Its path, or its URL.
            identity: What changes when it does.
            size: Its bytes; 0 if they are not known.

        Raises:
            OSError: The file is gone.
        """
        if self.remote is None:
            return TarFile.of(Path(place))
        return TarFile(place, size, 0, identity.hex() if identity else "", self.remote)
