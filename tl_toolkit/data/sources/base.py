"""Sources: from what a user names to samples with class names."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tl_toolkit.config.choices import DIGITS
from tl_toolkit.data.samples import Samples
from tl_toolkit.data.sources.arrays import array_samples, dataset_samples
from tl_toolkit.data.sources.folder import read_folder
from tl_toolkit.data.sources.names import PREFIX, PYTHON_PREFIX, find_folder
from tl_toolkit.errors import DataError, UnknownNameError, UsageError
from tl_toolkit.io.download import ProgressCallback
from tl_toolkit.io.files import is_folder
from tl_toolkit.io.reader_threads import call_with_stall_guard
from tl_toolkit.text import named

PACKAGE = Path(__file__).resolve().parents[2]
IDX_FOLDERS = {"MNIST": "mnist", "FashionMNIST": "fashion-mnist", "KMNIST": "kmnist"}
"""Folders that torchvision makes for MNIST and its kin, and the names of these datasets here."""


@dataclass(frozen=True)
class Source:
    """Images of known classes.

    Attributes:
        name: Short, for the name of the run.
        splits: Samples of train, val and test, those that there are.
        class_names: In the order of the targets.
        allow_hflip: False where a mirrored image means something else, as in writing.
        root: Folder against which file names are told, where there is one.
        notes: What a user should know about how the source was read.
    """

    name: str
    splits: dict[str, Samples]
    class_names: tuple[str, ...]
    allow_hflip: bool = True
    root: Path | None = None
    notes: list[str] = field(default_factory=list)

    def split(self, name: str) -> Samples:
        """The samples of a split.

        Raises:
            UnknownNameError: The source has no such split.
        """
        if name not in self.splits:
            raise UnknownNameError(f"split of {self.name}", name, self.splits)
        return self.splits[name]


def open_source(
    spec: Any, data_root: Path = Path("datasets"), download: bool = False, progress: ProgressCallback | None = None
) -> Source:
    """Opens images of any origin.

    Args:
        spec: A folder, "digits", "torchvision:NAME", a map-style dataset of (image, target) pairs, or an
            (images, targets) pair of arrays or tensors.
        data_root: Folder of torchvision's datasets.
        download: Fetch a torchvision dataset that is not there.
        progress: Told how far the download is.

    Raises:
        UsageError: Nothing answers to the spec.
        DataError: What answers to it is not as expected.
    """
    if isinstance(spec, str | Path):
        return _open_named(str(spec), data_root, download, progress)
    if isinstance(spec, tuple) and len(spec) == 2:
        samples, class_names = array_samples(*spec)
        return Source("arrays", {"train": samples}, class_names)
    if hasattr(spec, "__getitem__") and hasattr(spec, "__len__"):
        samples, class_names = dataset_samples(spec)
        return Source(type(spec).__name__.lower(), {"train": samples}, class_names)
    raise UsageError(
        f"Data must be a folder, a name, a map-style dataset or an (images, targets) pair, not {type(spec).__name__}."
    )


def digits_folder() -> Path:
    """The handwritten digits that come with the toolkit: inside an installed package, or beside it in a checkout."""
    inside = PACKAGE / "datasets" / "digits"
    return inside if inside.is_dir() else PACKAGE.parent / "datasets" / "digits"


def _open_named(spec: str, data_root: Path, download: bool, progress: ProgressCallback | None) -> Source:
    if spec.startswith(PREFIX):
        # torchvision.datasets is slow to import and rarely needed.
        from tl_toolkit.data.sources.torchvision import open_torchvision

        name = spec.removeprefix(PREFIX)
        splits, class_names, allow_hflip = open_torchvision(name, data_root, download, progress)
        return Source(name, splits, class_names, allow_hflip)
    if spec.startswith(PYTHON_PREFIX):
        raise UsageError(f"{spec} stands for objects that Python gave; from Python, give them again.")
    if spec == DIGITS:
        return _open_folder(digits_folder(), DIGITS, allow_hflip=False)
    return call_with_stall_guard(_open_path, spec)


def _open_path(spec: str) -> Source:
    folder = find_folder(spec)
    return _open_folder(folder, folder.resolve().name, allow_hflip=True)


def _open_folder(folder: Path, name: str, allow_hflip: bool) -> Source:
    for kind, dataset in IDX_FOLDERS.items():
        if is_folder(folder / kind / "raw"):
            raise DataError(
                f"{folder} holds {kind} as torchvision stores it: say {named('data', PREFIX + dataset)} and "
                f"{named('data_root', folder)}."
            )
    found = read_folder(folder)
    return Source(name, found.splits, tuple(found.class_names), allow_hflip, folder, found.notes)
