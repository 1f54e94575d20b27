"""Folders of images."""

import shutil
from pathlib import Path

from tl_toolkit.data.sources.folder import digits_folder


def copy_digits(folder: Path, classes: list[str], per_class: int, split: str = "train") -> Path:
    """Copy some of the real digits into class folders.

    Returns:
        `folder`.
    """
    for name in classes:
        (folder / name).mkdir(parents=True)
        for path in sorted((digits_folder() / split / name).iterdir())[:per_class]:
            shutil.copy(path, folder / name)
    return folder


def touch_files(root: Path, *paths: str) -> Path:
    """Make empty files, and the folders that they lie in.

    Returns:
        `root`.
    """
    for path in paths:
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    return root
