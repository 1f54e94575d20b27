"""Torchvision's classification datasets by name, without importing torchvision."""

from dataclasses import dataclass
from typing import Any

from tl_toolkit.errors import UnknownNameError

Arguments = dict[str, dict[str, Any]]
"""Arguments of a dataset's constructor, by split."""

TRAIN_FLAG: Arguments = {"train": {"train": True}, "test": {"train": False}}
TWO_SPLITS: Arguments = {"train": {"split": "train"}, "test": {"split": "test"}}
THREE_SPLITS: Arguments = {name: {"split": name} for name in ("train", "val", "test")}


@dataclass(frozen=True)
class DatasetEntry:
    """How to open a dataset.

    Attributes:
        builder: Name of torchvision's class.
        splits: Arguments for each split.
        allow_hflip: False if a mirrored image means something else.
        idx: Folder of its idx files, plain or gzipped; empty if it has none.
    """

    builder: str
    splits: Arguments
    allow_hflip: bool = True
    idx: str = ""


CATALOGUE: dict[str, DatasetEntry] = {
    "cifar10": DatasetEntry("CIFAR10", TRAIN_FLAG),
    "cifar100": DatasetEntry("CIFAR100", TRAIN_FLAG),
    "country211": DatasetEntry(
        "Country211", {"train": {"split": "train"}, "val": {"split": "valid"}, "test": {"split": "test"}}
    ),
    "dtd": DatasetEntry("DTD", THREE_SPLITS),
    "fashion-mnist": DatasetEntry("FashionMNIST", TRAIN_FLAG, idx="FashionMNIST"),
    "fgvc-aircraft": DatasetEntry("FGVCAircraft", THREE_SPLITS),
    "flowers102": DatasetEntry("Flowers102", THREE_SPLITS),
    "food101": DatasetEntry("Food101", TWO_SPLITS),
    "gtsrb": DatasetEntry("GTSRB", TWO_SPLITS, allow_hflip=False),
    "kmnist": DatasetEntry("KMNIST", TRAIN_FLAG, allow_hflip=False, idx="KMNIST"),
    "mnist": DatasetEntry("MNIST", TRAIN_FLAG, allow_hflip=False, idx="MNIST"),
    "oxford-iiit-pet": DatasetEntry("OxfordIIITPet", {"train": {"split": "trainval"}, "test": {"split": "test"}}),
    "rendered-sst2": DatasetEntry("RenderedSST2", THREE_SPLITS, allow_hflip=False),
    "stanford-cars": DatasetEntry("StanfordCars", TWO_SPLITS),
    "stl10": DatasetEntry("STL10", TWO_SPLITS),
    "svhn": DatasetEntry("SVHN", TWO_SPLITS, allow_hflip=False),
    "usps": DatasetEntry("USPS", TRAIN_FLAG, allow_hflip=False),
}
"""Torchvision's datasets with splits of their own, class names and one target for each image."""


def find_entry(name: str) -> DatasetEntry:
    """Return the dataset of that name.

    Raises:
        UnknownNameError: There is none.
    """
    if name not in CATALOGUE:
        raise UnknownNameError("torchvision dataset", name, CATALOGUE, "`tl data get --help` lists them.")
    return CATALOGUE[name]
