"""Torchvision's classification datasets by name."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tl_toolkit.data.arrays import array_samples, dataset_samples
from tl_toolkit.data.dataset import Samples
from tl_toolkit.data.downloads import checked_downloads
from tl_toolkit.data.idx import find_idx, read_idx
from tl_toolkit.download import Progress
from tl_toolkit.errors import DataError, UnknownNameError
from tl_toolkit.libraries import torchvision
from tl_toolkit.naming import named

datasets = torchvision.datasets

Arguments = dict[str, dict[str, Any]]
"""Split to the constructor's arguments for it."""

TRAIN_FLAG: Arguments = {"train": {"train": True}, "test": {"train": False}}
TWO_SPLITS: Arguments = {"train": {"split": "train"}, "test": {"split": "test"}}
THREE_SPLITS: Arguments = {name: {"split": name} for name in ("train", "val", "test")}


@dataclass(frozen=True)
class Entry:
    """How a dataset is opened.

    Attributes:
        build: torchvision's class.
        splits: Arguments for each split.
        mirror: False where a mirrored image means something else.
        idx: Folder of its idx files, where it has such files; they are read gzipped too.
    """

    build: Callable[..., Any]
    splits: Arguments
    mirror: bool = True
    idx: str = ""


IDX_PREFIXES = {"train": "train", "test": "t10k"}
"""What the names of MNIST's files begin with."""

CATALOGUE: dict[str, Entry] = {
    "cifar10": Entry(datasets.CIFAR10, TRAIN_FLAG),
    "cifar100": Entry(datasets.CIFAR100, TRAIN_FLAG),
    "country211": Entry(
        datasets.Country211, {"train": {"split": "train"}, "val": {"split": "valid"}, "test": {"split": "test"}}
    ),
    "dtd": Entry(datasets.DTD, THREE_SPLITS),
    "fashion-mnist": Entry(datasets.FashionMNIST, TRAIN_FLAG, idx="FashionMNIST"),
    "fgvc-aircraft": Entry(datasets.FGVCAircraft, THREE_SPLITS),
    "flowers102": Entry(datasets.Flowers102, THREE_SPLITS),
    "food101": Entry(datasets.Food101, TWO_SPLITS),
    "gtsrb": Entry(datasets.GTSRB, TWO_SPLITS, mirror=False),
    "kmnist": Entry(datasets.KMNIST, TRAIN_FLAG, mirror=False, idx="KMNIST"),
    "mnist": Entry(datasets.MNIST, TRAIN_FLAG, mirror=False, idx="MNIST"),
    "oxford-iiit-pet": Entry(datasets.OxfordIIITPet, {"train": {"split": "trainval"}, "test": {"split": "test"}}),
    "rendered-sst2": Entry(datasets.RenderedSST2, THREE_SPLITS, mirror=False),
    "stanford-cars": Entry(datasets.StanfordCars, TWO_SPLITS),
    "stl10": Entry(datasets.STL10, TWO_SPLITS),
    "svhn": Entry(datasets.SVHN, TWO_SPLITS, mirror=False),
    "usps": Entry(datasets.USPS, TRAIN_FLAG, mirror=False),
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


def open_torchvision(
    name: str, root: Path, download: bool, progress: Progress | None = None
) -> tuple[dict[str, Samples], tuple[str, ...], bool]:
    """Opens every split of a dataset.

    Args:
        name: A key of `CATALOGUE`.
        root: The folder that torchvision calls root.
        download: Fetch what is not there.
        progress: Told how far a download is.

    Returns:
        The samples of each split, the class names, and whether images may be mirrored.

    Raises:
        UnknownNameError: No dataset has that name.
        DataError: The files are not there, or cannot be fetched.
    """
    entry = find_entry(name)
    if entry.idx and (found := _open_idx(root / entry.idx / "raw", entry)):
        return found
    opened: dict[str, Samples] = {}
    class_names: tuple[str, ...] = ()
    for split, arguments in entry.splits.items():
        try:
            with checked_downloads(progress):
                dataset = entry.build(str(root), download=download, **arguments)
        except ModuleNotFoundError as error:
            raise DataError(f"torchvision:{name} needs the package {error.name}: pip install {error.name}.") from error
        except (RuntimeError, OSError, ValueError) as error:
            raise DataError(_missing(name, root, download, error)) from error
        opened[split], class_names = dataset_samples(dataset, fixed=True)
    return opened, class_names, entry.mirror


def _open_idx(folder: Path, entry: Entry) -> tuple[dict[str, Samples], tuple[str, ...], bool] | None:
    """MNIST or its kin from its idx files, plain or gzipped; None where one of them is missing.

    Raises:
        DataError: A file is damaged.
    """
    opened: dict[str, Samples] = {}
    for split, prefix in IDX_PREFIXES.items():
        images, labels = (find_idx(folder, f"{prefix}-{kind}-ubyte") for kind in ("images-idx3", "labels-idx1"))
        if images is None or labels is None:
            return None
        opened[split], _ = array_samples(read_idx(images).numpy(), read_idx(labels).tolist())
    return opened, tuple(entry.build.classes), entry.mirror  # type: ignore[attr-defined]  # a class's attribute


def _missing(name: str, root: Path, download: bool, error: Exception) -> str:
    reason = " ".join(str(getattr(error, "reason", error)).split()) or type(error).__name__
    if download:
        return f"torchvision:{name} could not be downloaded to {root}: {reason}"
    return (
        f"torchvision:{name} cannot be read from {root} ({reason}). "
        f"Fetch it with `tl data get {name} --data-root {root}`, or say {named('download', True)}."
    )
