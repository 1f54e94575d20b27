import gzip
import shutil
from pathlib import Path

import pytest

from tl_toolkit.data.sources import open_source
from tl_toolkit.data.torchvision_datasets import CATALOGUE


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
    source = open_source("torchvision:mnist", mnist_root)
    assert {name: len(samples) for name, samples in source.splits.items()} == {"train": 60_000, "test": 10_000}
    assert source.class_names[3] == "3 - three"
    assert not source.mirror
    assert source.split("test").open(0, 1).size == (28, 28)
    assert source.split("test").targets[0] == 7


def test_catalogue_holds_what_the_readme_names():
    assert {"mnist", "fashion-mnist", "cifar10", "cifar100", "flowers102", "oxford-iiit-pet", "food101"} <= set(
        CATALOGUE
    )
