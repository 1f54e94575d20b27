"""Which Parquet files or saved dataset a user names, and of which split each file is, by the rules of Hugging Face."""

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

from tl_toolkit.errors import DataError
from tl_toolkit.io.files import expand_path, is_file, is_folder
from tl_toolkit.io.reader_threads import reading
from tl_toolkit.text import join_names

ENDING = ".parquet"
SPLITS_FILE, STATE_FILE, INFO_FILE = "dataset_dict.json", "state.json", "dataset_info.json"
"""What `save_to_disk` writes beside the Arrow files (datasets/config.py)."""

SPLIT_WORDS: dict[str, tuple[str, ...]] = {
    "train": ("train", "training"),
    "val": ("validation", "valid", "dev", "val"),
    "test": ("test", "testing", "eval", "evaluation"),
}
"""Words in the name of a file or its folder (datasets/data_files.py, `SPLIT_KEYWORDS`)."""

SEPARATOR = r"[-._ 0-9]"
"""What may stand beside such a word (`NON_WORDS_CHARS` there)."""

DATA_FOLDER = "data"
"""Where repositories of the Hugging Face Hub keep their files."""


def choose_splits(names: Sequence[str], where: str) -> tuple[dict[str, str], list[str]]:
    """Return the name of train, val and test among the splits of a dataset, and a note on what else it has.

    Raises:
        DataError: Several names have the same meaning, or none has one.
    """
    meanings = {word: split for split, words in SPLIT_WORDS.items() for word in words}
    chosen: dict[str, str] = {}
    for name in names:
        split = meanings.get(name.lower())
        if split in chosen:
            raise DataError(f"{where} has several splits for {split}: {chosen[split]} and {name}. Keep one of them.")
        if split is not None:
            chosen[split] = name
    others = [name for name in names if name not in chosen.values()]
    if not chosen and len(others) == 1:
        return {"train": others[0]}, [f"{where} has one split, {others[0]}: it is taken as train."]
    if not chosen:
        raise DataError(
            f"{where} has the splits {join_names(others)}, of which none is train, validation or test. Give one of "
            "them that name."
        )
    return chosen, [f"Passed over {join_names(others)} of {where}: neither train, validation nor test."] * bool(others)


def split_of(path: str) -> str | None:
    """Return the split that a relative path names: by a folder, else by the file; None if it names none.

    Raises:
        DataError: It names several.
    """
    *folders, file = PurePosixPath(path).parts
    for names in (folders, [file]):
        found = [split for split, words in SPLIT_WORDS.items() if any(_has_word(name, words) for name in names)]
        if len(found) > 1:
            raise DataError(f"{path} could be of {' or '.join(found)}: let its name have the word of one split only.")
        if found:
            return found[0]
    return None


def split_files(paths: Iterable[str], where: str) -> dict[str, str] | None:
    """Return the split of each file; None if no path names one.

    Raises:
        DataError: Only some paths do.
    """
    found = {path: split_of(path) for path in paths}
    lacking = [path for path, split in found.items() if split is None]
    if len(lacking) == len(found):
        return None
    if lacking:
        raise DataError(
            f"{where} has files that name a split, and others ({join_names(lacking)}). Put train, validation or test "
            "into the name of each file, or move the others away."
        )
    return {path: split for path, split in found.items() if split is not None}


def is_saved(spec: str) -> bool:
    """Return whether a text names a folder that `save_to_disk` of `datasets` wrote."""
    if not spec.strip():
        return False
    folder = expand_path(spec)
    return is_file(folder / SPLITS_FILE) or (is_file(folder / STATE_FILE) and is_file(folder / INFO_FILE))


def find_files(spec: str) -> list[str]:
    """Return the Parquet files that a text names, relative to the folder they lie in; none if it names something else.

    It names a file, or a folder of such files alone: in itself, in `data/`, or in folders of splits. A folder that has
    other folders is one of class folders, whatever lies beside them.
    """
    if not spec.strip():
        return []
    path = expand_path(spec)
    if path.suffix.lower() == ENDING and is_file(path):
        return [path.name]
    if not is_folder(path):
        return []
    try:
        return _of_folder(path)
    except OSError:  # Listing it as a folder of images reports this.
        return []


def _of_folder(folder: Path) -> list[str]:
    files, folders = _list(folder)
    if not files and not any(_may_hold_files(name) for name in folders):
        return []  # Without a look at every folder: there may be thousands of classes.
    for name in folders:
        below, deeper = _list(folder / name) if _may_hold_files(name) else ([], [name])
        if deeper or not below:
            return []
        files += [f"{name}/{file}" for file in below]
    return sorted(files)


def _list(folder: Path) -> tuple[list[str], list[str]]:
    """Return the Parquet files and the folders that are not hidden."""
    with reading(folder), os.scandir(folder) as entries:
        visible = [(entry.name, entry.is_dir()) for entry in entries if not entry.name.startswith(".")]
    files = [name for name, is_dir in visible if not is_dir and name.lower().endswith(ENDING)]
    return files, [name for name, is_dir in visible if is_dir]


def _may_hold_files(folder: str) -> bool:
    return folder == DATA_FOLDER or any(_has_word(folder, words) for words in SPLIT_WORDS.values())


def _has_word(name: str, words: Sequence[str]) -> bool:
    return any(re.search(rf"(^|{SEPARATOR}){word}({SEPARATOR}|$)", name) for word in words)
