"""The league's data sets: train/CLASS/ and test/CLASS/, drawn with one seed, the same in every run and on any machine.

The images that accuracy is measured on are called test, so that no entrant chooses a model by them; one that wants a
val split takes it from train.
"""

import gzip
import random
import shutil
import tarfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

SEED = 0
CIFAR10_PER_CLASS = {"train": 100, "test": 200}
MNIST_PER_CLASS = {"train": 50, "test": 200}
MNIST_FILES = {"train": "train", "test": "t10k"}


def prepare_ants_and_bees(root: Path, folder: Path) -> None:
    """All photographs; those of val become test."""
    _unpack(root / "hymenoptera.tar", folder, lambda names: {name: name.replace("val/", "test/", 1) for name in names})


def prepare_caltech101(root: Path, folder: Path) -> None:
    """All photographs."""
    _unpack(root / "caltech101.tar", folder, lambda names: {name: name for name in names})


def prepare_cifar10(root: Path, folder: Path) -> None:
    """100 training images of each class by lot, and the first 200 of each of test."""

    def choose(names: Iterable[str]) -> dict[str, str]:
        chosen = []
        for group, files in _by_folder(names).items():
            split = group.partition("/")[0]
            wanted = CIFAR10_PER_CLASS[split]
            chosen += draw(files, wanted, f"cifar10 {group}") if split == "train" else sorted(files)[:wanted]
        return {name: name for name in chosen}

    _unpack(root / "cifar10.tar.gz", folder, choose)


def prepare_mnist(root: Path, folder: Path) -> None:
    """50 training digits and 200 test digits of each class by lot, as PNG files."""
    for split, prefix in MNIST_FILES.items():
        raw = root / "mnist" / "MNIST" / "raw"
        pixels = _idx(raw / f"{prefix}-images-idx3-ubyte.gz", header=16).reshape(-1, 28, 28)
        targets = _idx(raw / f"{prefix}-labels-idx1-ubyte.gz", header=8)
        for target in range(10):
            place = folder / split / str(target)
            place.mkdir(parents=True)
            of_class = [str(index) for index in np.flatnonzero(targets == target)]
            for index in draw(of_class, MNIST_PER_CLASS[split], f"mnist {split} {target}"):
                Image.fromarray(pixels[int(index)]).save(place / f"{index}.png")


@dataclass(frozen=True)
class DataSet:
    """A data set and what its entrants do with it.

    Attributes:
        title: Its name in tables.
        prepare: Writes it into an empty folder, from the folder of archives.
        size: Side of a rival's input in pixels.
        epochs: Of a rival.
        flip: Whether a mirrored image is still of its class.
        small_images: Whether its images are smaller than the input.
    """

    title: str
    prepare: Callable[[Path, Path], None]
    size: int
    epochs: int
    flip: bool = True
    small_images: bool = False


DATA_SETS = {
    "ants": DataSet("Ants and bees", prepare_ants_and_bees, size=224, epochs=3),
    "mnist": DataSet("MNIST, 50 a class", prepare_mnist, size=160, epochs=5, flip=False, small_images=True),
    "cifar": DataSet("CIFAR-10, 100 a class", prepare_cifar10, size=160, epochs=5, small_images=True),
    "caltech": DataSet("Caltech-101", prepare_caltech101, size=160, epochs=5),
}


def prepared(name: str, root: Path, work: Path) -> Path:
    """The folder of a data set, written if it is not there yet.

    Args:
        name: A key of DATA_SETS.
        root: The folder of archives, see CONTRIBUTING.md.
        work: The folder that prepared sets are kept in.
    """
    folder = work / name
    if not folder.is_dir():
        partial = work / f"{name}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        DATA_SETS[name].prepare(root, partial)
        partial.rename(folder)
    return folder


def draw(names: Iterable[str], count: int, key: str) -> list[str]:
    """Draws `count` of the names by a lot that depends on the names, the league's seed and the key alone."""
    return sorted(random.Random(f"{SEED} {key}").sample(sorted(names), count))


def _by_folder(names: Iterable[str]) -> dict[str, list[str]]:
    groups = defaultdict(list)
    for name in names:
        groups[name.rpartition("/")[0]].append(name)
    return groups


def _unpack(archive: Path, folder: Path, choose: Callable[[Iterable[str]], Mapping[str, str]]) -> None:
    """Unpacks the files that `choose` maps to a place; their names begin below the archive's top folder."""
    with tarfile.open(archive) as packed:
        files = {member.name.partition("/")[2]: member for member in packed.getmembers() if member.isfile()}
        places = choose(sorted(files))
        for name, member in files.items():  # In the archive's order: a gzipped one is read once.
            content = packed.extractfile(member) if name in places else None
            if content:
                place = folder / places[name]
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(content.read())


def _idx(path: Path, header: int) -> np.ndarray:
    return np.frombuffer(gzip.decompress(path.read_bytes()), np.uint8, offset=header)
