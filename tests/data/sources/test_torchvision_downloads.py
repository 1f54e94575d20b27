import contextlib
import hashlib
import io
import tarfile
import urllib.error
from pathlib import Path
from typing import Any

import pytest
from torchvision import datasets
from torchvision.datasets import utils

from tl_toolkit.data.sources import torchvision_downloads as downloads
from tl_toolkit.data.sources.base import open_source
from tl_toolkit.data.sources.catalogue import CATALOGUE
from tl_toolkit.data.sources.torchvision_downloads import MD5, checked_downloads
from tl_toolkit.errors import DataError, DownloadError


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The addresses that are asked for a file; none answers."""
    addresses: list[str] = []

    def nobody(url: str, *_: Any) -> None:
        addresses.append(url)
        raise DownloadError(f"{url} cannot be reached")

    monkeypatch.setattr(downloads, "download", nobody)
    return addresses


@pytest.mark.parametrize("name", [name for name in CATALOGUE if name != "stanford-cars"])
def test_every_dataset_is_asked_for_over_https(name: str, asked: list[str], tmp_path: Path):
    if name in ("flowers102", "svhn"):
        pytest.importorskip("scipy")
    with pytest.raises(DataError, match=f"torchvision:{name} could not be downloaded"):
        open_source(f"torchvision:{name}", data_root=tmp_path, download=True)
    protected = [url for url in asked if url.startswith("https://")]
    assert protected
    assert set(asked) - set(protected) <= {url for url in asked if url.startswith("http://yann.lecun.com/")}


def test_checked_downloads_changes_torchvision_within_the_block_alone():
    before = {name: getattr(utils, name) for name in dir(utils)}
    with contextlib.suppress(RuntimeError), checked_downloads():
        assert utils._is_remote_location_available()
        raise RuntimeError
    assert {name: getattr(utils, name) for name in dir(utils)} == before


def test_an_archive_without_torchvisions_md5_is_checked_by_ours(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    told = []
    monkeypatch.setattr(downloads, "download", lambda *arguments: told.append(arguments))
    with checked_downloads(), contextlib.suppress(RuntimeError):  # Nothing comes, which torchvision remarks.
        utils.download_url(datasets.FGVCAircraft._URL, str(tmp_path), "b")
    assert told == [(datasets.FGVCAircraft._URL, tmp_path / "b", MD5[datasets.FGVCAircraft._URL], None, "md5")]


def test_an_archive_that_leads_out_is_not_unpacked_by_torchvisions_class(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    header = tarfile.TarInfo("../../evil.txt")
    header.size = 4
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        tar.addfile(header, io.BytesIO(b"evil"))
    monkeypatch.setattr(datasets.CIFAR10, "tgz_md5", hashlib.md5(packed.getvalue()).hexdigest())
    monkeypatch.setattr(downloads, "download", lambda url, path, *_: path.write_bytes(packed.getvalue()))
    with pytest.raises(DataError, match=r"cifar-10-python\.tar\.gz is not unpacked: it holds '\.\./\.\./evil\.txt'"):
        open_source("torchvision:cifar10", data_root=tmp_path / "a" / "b", download=True)
    assert not list(tmp_path.rglob("evil.txt"))


def test_an_unreachable_address_is_a_url_error_so_that_the_next_is_tried(asked: list[str], tmp_path: Path):
    with checked_downloads(), pytest.raises(urllib.error.URLError, match=r"https://x\.org/a cannot be reached"):
        utils.download_url("https://x.org/a", str(tmp_path))
    assert asked == ["https://x.org/a"]
