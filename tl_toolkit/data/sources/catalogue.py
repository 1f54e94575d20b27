"""Torchvision's classification datasets by name; to know them torchvision need not be imported."""

from dataclasses import dataclass
from typing import Any

from tl_toolkit.errors import UnknownNameError

Arguments = dict[str, dict[str, Any]]
"""Split to the constructor's arguments for it."""

TRAIN_FLAG: Arguments = {"train": {"train": True}, "test": {"train": False}}
TWO_SPLITS: Arguments = {"train": {"split": "train"}, "test": {"split": "test"}}
THREE_SPLITS: Arguments = {name: {"split": name} for name in ("train", "val", "test")}


@dataclass(frozen=True)
class Entry:
    """How a dataset is opened.

    Attributes:
        builder: Name of torchvision's class.
        splits: Arguments for each split.
        mirror: False where a mirrored image means something else.
        idx: Folder of its idx files, where it has such files; they are read gzipped too.
    """

    builder: str
    splits: Arguments
    mirror: bool = True
    idx: str = ""


CATALOGUE: dict[str, Entry] = {
    "cifar10": Entry("CIFAR10", TRAIN_FLAG),
    "cifar100": Entry("CIFAR100", TRAIN_FLAG),
    "country211": Entry(
        "Country211", {"train": {"split": "train"}, "val": {"split": "valid"}, "test": {"split": "test"}}
    ),
    "dtd": Entry("DTD", THREE_SPLITS),
    "fashion-mnist": Entry("FashionMNIST", TRAIN_FLAG, idx="FashionMNIST"),
    "fgvc-aircraft": Entry("FGVCAircraft", THREE_SPLITS),
    "flowers102": Entry("Flowers102", THREE_SPLITS),
    "food101": Entry("Food101", TWO_SPLITS),
    "gtsrb": Entry("GTSRB", TWO_SPLITS, mirror=False),
    "kmnist": Entry("KMNIST", TRAIN_FLAG, mirror=False, idx="KMNIST"),
    "mnist": Entry("MNIST", TRAIN_FLAG, mirror=False, idx="MNIST"),
    "oxford-iiit-pet": Entry("OxfordIIITPet", {"train": {"split": "trainval"}, "test": {"split": "test"}}),
    "rendered-sst2": Entry("RenderedSST2", THREE_SPLITS, mirror=False),
    "stanford-cars": Entry("StanfordCars", TWO_SPLITS),
    "stl10": Entry("STL10", TWO_SPLITS),
    "svhn": Entry("SVHN", TWO_SPLITS, mirror=False),
    "usps": Entry("USPS", TRAIN_FLAG, mirror=False),
}
"""Torchvision's classification datasets with splits of their own, class names and one target for each image."""


def find_entry(name: str) -> Entry:
    """The dataset of that name.

    Raises:
        UnknownNameError: There is none.
    """
    if name not in CATALOGUE:
        raise UnknownNameError("torchvision dataset", name, CATALOGUE, "`tl data get --help` lists them.")
    return CATALOGUE[name]
