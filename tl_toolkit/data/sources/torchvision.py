"""Torchvision's classification datasets."""

from pathlib import Path
from typing import Any

from tl_toolkit.data.samples import Samples
from tl_toolkit.data.sources.arrays import array_samples, dataset_samples
from tl_toolkit.data.sources.base import Source, SourceOptions
from tl_toolkit.data.sources.catalogue import DatasetEntry, find_entry
from tl_toolkit.data.sources.idx import find_idx, read_idx
from tl_toolkit.data.sources.names import PREFIX
from tl_toolkit.data.sources.torchvision_downloads import checked_downloads
from tl_toolkit.errors import DataError
from tl_toolkit.system.libraries import torchvision
from tl_toolkit.text import named

IDX_PREFIXES = {"train": "train", "test": "t10k"}
"""What the names of MNIST's files begin with."""


def open_torchvision(spec: object, options: SourceOptions) -> Source | None:
    """Open every split of a dataset.

    Raises:
        UnknownNameError: No dataset has that name.
        DataError: The files are not there, or cannot be fetched.
    """
    if not (isinstance(spec, str) and spec.startswith(PREFIX)):
        return None
    name = spec.removeprefix(PREFIX)
    entry = find_entry(name)
    if entry.idx and (found := _open_idx(options.data_root / entry.idx / "raw")):
        return Source(name, found, tuple(_builder(entry).classes), entry.allow_hflip)
    splits: dict[str, Samples] = {}
    class_names: tuple[str, ...] = ()
    for split, arguments in entry.splits.items():
        try:
            with checked_downloads(options.progress):
                dataset = _builder(entry)(str(options.data_root), download=options.download, **arguments)
        except ModuleNotFoundError as error:
            raise DataError(f"{spec} needs the package {error.name}: pip install {error.name}.") from error
        except (RuntimeError, OSError, ValueError) as error:
            raise DataError(_missing(name, options, error)) from error
        splits[split], class_names = dataset_samples(dataset, deterministic=True)
    return Source(name, splits, class_names, entry.allow_hflip)


def _builder(entry: DatasetEntry) -> Any:
    """Return torchvision's class."""
    return getattr(torchvision.datasets, entry.builder)


def _open_idx(folder: Path) -> dict[str, Samples] | None:
    """Read MNIST or its kin from idx files, plain or gzipped; None if one of them is missing."""
    opened: dict[str, Samples] = {}
    for split, prefix in IDX_PREFIXES.items():
        images, labels = (find_idx(folder, f"{prefix}-{kind}-ubyte") for kind in ("images-idx3", "labels-idx1"))
        if images is None or labels is None:
            return None
        opened[split], _ = array_samples(read_idx(images).numpy(), read_idx(labels).tolist())
    return opened


def _missing(name: str, options: SourceOptions, error: Exception) -> str:
    reason = " ".join(str(getattr(error, "reason", error)).split()) or type(error).__name__
    root = options.data_root
    if options.download:
        return f"torchvision:{name} could not be downloaded to {root}: {reason}"
    return (
        f"torchvision:{name} cannot be read from {root} ({reason}). "
        f"Fetch it with `tl data get {name} --data-root {root}`, or say {named('download', True)}."
    )
