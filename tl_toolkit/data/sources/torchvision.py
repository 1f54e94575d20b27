"""Torchvision's classification datasets, opened."""

from pathlib import Path
from typing import Any

from tl_toolkit.data.samples import Samples
from tl_toolkit.data.sources.arrays import array_samples, dataset_samples
from tl_toolkit.data.sources.catalogue import DatasetEntry, find_entry
from tl_toolkit.data.sources.idx import find_idx, read_idx
from tl_toolkit.data.sources.torchvision_downloads import checked_downloads
from tl_toolkit.errors import DataError
from tl_toolkit.io.download import ProgressCallback
from tl_toolkit.system.libraries import torchvision
from tl_toolkit.text import named

IDX_PREFIXES = {"train": "train", "test": "t10k"}
"""What the names of MNIST's files begin with."""


def open_torchvision(
    name: str, root: Path, download: bool, progress: ProgressCallback | None = None
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
                dataset = _builder(entry)(str(root), download=download, **arguments)
        except ModuleNotFoundError as error:
            raise DataError(f"torchvision:{name} needs the package {error.name}: pip install {error.name}.") from error
        except (RuntimeError, OSError, ValueError) as error:
            raise DataError(_missing(name, root, download, error)) from error
        opened[split], class_names = dataset_samples(dataset, fixed=True)
    return opened, class_names, entry.allow_hflip


def _builder(entry: DatasetEntry) -> Any:
    """Torchvision's class."""
    return getattr(torchvision.datasets, entry.builder)


def _open_idx(folder: Path, entry: DatasetEntry) -> tuple[dict[str, Samples], tuple[str, ...], bool] | None:
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
    return opened, tuple(_builder(entry).classes), entry.allow_hflip


def _missing(name: str, root: Path, download: bool, error: Exception) -> str:
    reason = " ".join(str(getattr(error, "reason", error)).split()) or type(error).__name__
    if download:
        return f"torchvision:{name} could not be downloaded to {root}: {reason}"
    return (
        f"torchvision:{name} cannot be read from {root} ({reason}). "
        f"Fetch it with `tl data get {name} --data-root {root}`, or say {named('download', True)}."
    )
