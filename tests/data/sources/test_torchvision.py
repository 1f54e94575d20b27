import gzip
import hashlib
import http.server
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest
from torchvision import datasets

from tl_toolkit.data.sources.base import open_source
from tl_toolkit.data.sources.catalogue import CATALOGUE
from tl_toolkit.data.sources.idx import read_idx
from tl_toolkit.errors import DataError


@pytest.fixture(scope="module")
def mnist_root(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MNIST as torchvision wants it: unpacked."""
    root = tmp_path_factory.mktemp("torchvision")
    raw = root / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for packed in (real_data / "mnist" / "MNIST" / "raw").glob("*.gz"):
        with gzip.open(packed) as source, (raw / packed.stem).open("wb") as target:
            shutil.copyfileobj(source, target)
    return root


def test_open_source_of_mnist_on_the_disk_needs_no_download(mnist_root: Path):
    source = open_source("torchvision:mnist", data_root=mnist_root)
    assert {name: len(samples) for name, samples in source.splits.items()} == {"train": 60_000, "test": 10_000}
    assert source.class_names[3] == "3 - three"
    assert not source.allow_hflip
    assert source.split("test").open(0, 1).size == (28, 28)
    assert source.split("test").targets[0] == 7


def test_open_source_of_gzipped_mnist_reads_the_same(mnist_root: Path, real_data: Path):
    plain = open_source("torchvision:mnist", data_root=mnist_root)
    packed = open_source("torchvision:mnist", data_root=real_data / "mnist")
    assert packed.class_names == plain.class_names
    for split, samples in plain.splits.items():
        assert packed.split(split).targets == samples.targets
        assert packed.split(split).open(7, 1).tobytes() == samples.open(7, 1).tobytes()


def test_open_source_of_mnist_reads_what_torchvision_reads(mnist_root: Path):
    theirs = datasets.MNIST(str(mnist_root), train=False)
    ours = open_source("torchvision:mnist", data_root=mnist_root).split("test")
    assert ours.targets == theirs.targets.tolist()
    assert list(datasets.MNIST.classes) == list(open_source("torchvision:mnist", data_root=mnist_root).class_names)
    for index in (0, 4_999, 9_999):
        assert ours.open(index, 1).tobytes() == theirs[index][0].tobytes()


@pytest.fixture
def idx_files(tmp_path: Path) -> Path:
    """Fashion-MNIST as it is downloaded, of six images."""
    raw = tmp_path / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for prefix, count in (("train", 4), ("t10k", 2)):
        pixels = bytes(range(4)) * count
        images = bytes([0, 0, 8, 3]) + b"".join(n.to_bytes(4, "big") for n in (count, 2, 2)) + pixels
        labels = bytes([0, 0, 8, 1]) + count.to_bytes(4, "big") + bytes(index % 2 for index in range(count))
        for name, content in ((f"{prefix}-images-idx3-ubyte", images), (f"{prefix}-labels-idx1-ubyte", labels)):
            (raw / f"{name}.gz").write_bytes(gzip.compress(content))
    return tmp_path


def test_open_source_downloads_what_is_missing_once(idx_files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Over HTTP, from a server on this machine, through torchvision's own downloading."""
    raw, asked = idx_files / "FashionMNIST" / "raw", []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments, directory=str(raw))

        def log_request(self, *_: object) -> None:
            asked.append(self.path)

    resources = [(path.name, hashlib.md5(path.read_bytes()).hexdigest()) for path in sorted(raw.iterdir())]
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setattr(datasets.FashionMNIST, "mirrors", [f"http://127.0.0.1:{server.server_port}/"])
        monkeypatch.setattr(datasets.FashionMNIST, "resources", resources)
        root = tmp_path / "downloaded"
        with pytest.raises(DataError, match="Fetch it with `tl data get fashion-mnist --data-root .*say download=True"):
            open_source("torchvision:fashion-mnist", data_root=root)
        assert asked == []
        source = open_source("torchvision:fashion-mnist", data_root=root, download=True)
        assert {name: len(samples) for name, samples in source.splits.items()} == {"train": 4, "test": 2}
        assert len([path for path in asked if path.endswith(".gz")]) >= 4
        asked.clear()
        open_source("torchvision:fashion-mnist", data_root=root, download=True)
        assert asked == []
        server.shutdown()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not an idx file of bytes: it begins with nothing"),
        (bytes([0, 0, 13, 1]) + bytes(8), "is not an idx file of bytes: it begins with 00 00 0d 01"),
        (bytes([0, 0, 8, 1]) + (5).to_bytes(4, "big") + bytes(4), r"is damaged: it says \[5\], but holds 4 bytes"),
        (bytes([0, 0, 8, 3]) + bytes(3), r"is damaged: it says \[\], but holds 0 bytes"),
    ],
)
def test_read_idx_of_a_damaged_file_says_what_is_wrong(tmp_path: Path, content: bytes, message: str):
    for name, written in (("plain", content), ("packed.gz", gzip.compress(content))):
        (tmp_path / name).write_bytes(written)
        with pytest.raises(DataError, match=message):
            read_idx(tmp_path / name)


def test_read_idx_of_a_truncated_gz_says_so(tmp_path: Path):
    whole = gzip.compress(bytes([0, 0, 8, 1]) + (5).to_bytes(4, "big") + bytes(5))
    for cut in range(len(whole)):
        (tmp_path / "cut.gz").write_bytes(whole[:cut])
        with pytest.raises(DataError, match=r"cut\.gz (cannot be read|is not an idx file)"):
            read_idx(tmp_path / "cut.gz")


def test_catalogue_holds_what_the_readme_names():
    assert {"mnist", "fashion-mnist", "cifar10", "cifar100", "flowers102", "oxford-iiit-pet", "food101"} <= set(
        CATALOGUE
    )
