"""Folders of images: one folder a class, with or without splits."""

import difflib
import mimetypes
import os
from collections.abc import Mapping
from pathlib import Path

from tl_toolkit.data.dataset import Samples
from tl_toolkit.errors import DataError, listing
from tl_toolkit.reading import begin_file, reading

SPLIT_FOLDERS: Mapping[str, str] = {
    "train": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
}
"""Folder name to split."""

OTHER_SPLIT_NAMES = {
    "training": ("train",),
    "testing": ("test",),
    "dev": ("val",),
    "eval": ("val",),
    "holdout": ("test",),
}
"""What others call the splits."""

SYSTEM_FILES = {"thumbs.db", "desktop.ini"}
"""Litter that Windows leaves in folders of images; hidden files are passed over anyway."""

DOCUMENTS = (".md", ".txt", ".csv", ".json", ".yaml", ".yml", ".xml", ".html", ".pdf")
"""Endings of files that often lie beside class folders and describe them."""

EXPECTED = "expected FOLDER/CLASS/image.jpg, or FOLDER/train/CLASS/image.jpg beside val/ and test/"


def find_splits(folder: Path) -> tuple[dict[str, Path], list[str]]:
    """Says which folder holds which split; a plain folder of classes is all "train".

    Returns:
        The folder of each split, and notes on what was passed over.

    Raises:
        DataError: It cannot be said whether the folders are classes or splits.
    """
    names = [entry.name for entry in _visible(folder) if _is_folder(entry)]
    if not names:
        raise DataError(f"{folder} has no folders in it; {EXPECTED}.")
    splits: dict[str, Path] = {}
    for name in names:
        split = SPLIT_FOLDERS.get(name.lower())
        if split is None:
            continue
        if split in splits:
            raise DataError(
                f"{folder} has two folders for {split}, {splits[split].name}/ and {name}/; keep one of them."
            )
        splits[split] = folder / name
    others = [name for name in names if name.lower() not in SPLIT_FOLDERS]
    loose = sum(_could_be_an_image(entry) for entry in _visible(folder))
    notes = [f"Passed over in {folder}, in no class folder: {loose} files."] if loose else []
    if not splits:
        _refuse_near_splits(folder, others)
        return {"train": folder}, notes
    if others and "train" not in splits:
        found = ", ".join(f"{path.name}/" for path in splits.values())
        raise DataError(
            f"{folder} has {found} beside {listing([f'{name}/' for name in others])}: these can be splits or "
            "classes. Add train/ for a folder of splits, or rename the class."
        )
    if others:
        notes.append(f"Passed over in {folder}, no split: {listing([f'{name}/' for name in others])}.")
    return splits, notes


def _refuse_near_splits(folder: Path, names: list[str]) -> None:
    """Refuses folders that are called almost like splits and hold folders themselves.

    Raises:
        DataError: They would be taken for classes.
    """
    for name in names:
        lower = name.lower()
        near = difflib.get_close_matches(lower, SPLIT_FOLDERS, n=1, cutoff=0.7) + list(OTHER_SPLIT_NAMES.get(lower, ()))
        if near and any(_is_folder(entry) for entry in _visible(folder / name)):
            raise DataError(
                f"{folder / name} could be a class or a split: it holds folders and its name is near {near[-1]!r}. "
                f"Call it {near[-1]}/ if it is a split, or put train/ above the classes."
            )


def class_folders(folder: Path) -> list[str]:
    """Names of the classes of one split, sorted.

    Raises:
        DataError: There are none.
    """
    names = sorted(entry.name for entry in _visible(folder) if _is_folder(entry))
    if not names:
        raise DataError(f"{folder} has no class folders; {EXPECTED}.")
    return names


def folder_samples(folder: Path, class_names: list[str]) -> Samples:
    """Every visible file below the class folders, sorted; whether it is an image shows when it is decoded.

    Args:
        folder: Holds one folder for each class.
        class_names: The classes, in the order of their indices; one without a folder has no samples.
    """
    images: list[str] = []  # A Path takes six times the memory, and Python's garbage collector looks through them all.
    targets: list[int] = []
    for target, name in enumerate(class_names):
        files = files_below(folder / name)
        images += files
        targets += [target] * len(files)
    return Samples(images, targets)


def files_below(folder: Path) -> list[str]:
    """Paths of every visible file below a folder, sorted; links to folders are followed, but none twice."""
    found: list[str] = []
    seen: set[tuple[int, int]] = set()
    pending = [folder] if folder.is_dir() else []
    while pending:
        here = pending.pop()
        with reading(here):
            status = here.stat()
        if (status.st_dev, status.st_ino) in seen:
            continue
        seen.add((status.st_dev, status.st_ino))
        entries = _visible(here)
        if not entries and _is_called_like_an_image(here):
            found.append(str(here))  # Perhaps a copy that went wrong; it is not passed over.
        for entry in entries:
            if _is_folder(entry):
                pending.append(here / entry.name)
            elif entry.name.lower() not in SYSTEM_FILES:
                found.append(str(here / entry.name))
    return sorted(found)


def _is_called_like_an_image(path: Path) -> bool:
    return (mimetypes.guess_type(path.name)[0] or "").startswith("image/")


def _could_be_an_image(entry: os.DirEntry[str]) -> bool:
    name = entry.name.lower()
    return not (_is_folder(entry) or name in SYSTEM_FILES or name.endswith(DOCUMENTS))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a folder; False for a link that leads in circles."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def _visible(folder: Path) -> list[os.DirEntry[str]]:
    """Entries that are not hidden, by name.

    Raises:
        DataError: The folder cannot be listed.
    """
    visible = []
    try:
        with reading(folder), os.scandir(folder) as entries:
            for entry in entries:
                begin_file(folder)  # It answered.
                if not entry.name.startswith("."):
                    visible.append(entry)
    except OSError as error:
        raise DataError(f"Cannot read the folder {folder}: {error.strerror}.") from error
    return sorted(visible, key=lambda entry: entry.name)
