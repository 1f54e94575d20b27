"""What a user may call data, looked up before anything is opened or torch is imported."""

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tl_toolkit.config.choices import DIGITS, KINDS
from tl_toolkit.data.sources.catalogue import CATALOGUE, find_entry
from tl_toolkit.data.sources.hub_name import HUB_PREFIX, parse_hub_name
from tl_toolkit.errors import UsageError
from tl_toolkit.io.files import expand_path, is_file, is_folder
from tl_toolkit.io.reader_threads import call_with_stall_guard
from tl_toolkit.registry import Registry

PREFIX = "torchvision:"
PYTHON_PREFIX = "python:"
"""What a run records as its data if these are Python objects."""

TABLE_ENDINGS = (".csv", ".tsv", ".jsonl", ".parquet")
SHARD_ENDING = ".tar"

SPLIT_FOLDERS: Mapping[str, str] = {
    "train": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
}
"""Folder name to split."""

UNPREFIXED = {
    "digits": "tl_toolkit.data.sources.folder:open_digits",
    "shards": "tl_toolkit.data.sources.shards:open_shards",
    "saved": "tl_toolkit.data.sources.hugging_face:open_saved",
    "parquet": "tl_toolkit.data.sources.parquet:open_parquet",
    "table": "tl_toolkit.data.sources.table:open_table",
    "folder": "tl_toolkit.data.sources.folder:open_folder",
    "arrays": "tl_toolkit.data.sources.arrays:open_arrays",
    "dataset": "tl_toolkit.data.sources.arrays:open_dataset",
}
"""The sources that need not be named in a spec. A spec of any other, a str, is "SOURCE:NAME"."""

PREFIXED = {
    "torchvision": "tl_toolkit.data.sources.torchvision:open_torchvision",
    "hf": "tl_toolkit.data.sources.hugging_face:open_hub",
}
SOURCES: Registry[Any] = Registry("source", "tl_toolkit.sources", UNPREFIXED | PREFIXED)
"""An `Opener` by name."""


def candidates(spec: object) -> list[str]:
    """Return the names of the sources that may answer to a spec, in the order in which they are asked."""
    if not isinstance(spec, str):
        return list(SOURCES)
    prefix, colon, _ = spec.partition(":")
    return [prefix] if colon and prefix not in UNPREFIXED and prefix in SOURCES else list(UNPREFIXED)


def may_open(name: str, spec: object) -> bool:
    """Return whether a source may answer to a spec, by a quick look: importing what reads a kind takes its time.

    Raises:
        UsageError: Tar files that the spec names are missing.
    """
    if not isinstance(spec, str) or name not in ("saved", "parquet", "table", "shards"):
        return True
    if name == "table":
        return spec.lower().endswith(TABLE_ENDINGS)
    if name == "shards":
        from tl_toolkit.data.sources.shard_files import find_shards

        return bool(call_with_stall_guard(find_shards, spec))
    from tl_toolkit.data.sources.parquet_files import find_files, is_saved

    return bool(call_with_stall_guard(is_saved if name == "saved" else find_files, spec))


def check_name(spec: str) -> None:
    """Check that a source answers to a name; what is in it is another matter.

    Raises:
        UsageError: None does.
    """
    if spec.startswith(PREFIX):
        find_entry(spec.removeprefix(PREFIX))
    elif spec.startswith(HUB_PREFIX):
        parse_hub_name(spec)
    elif spec != DIGITS and not spec.startswith(PYTHON_PREFIX) and "folder" in candidates(spec):
        call_with_stall_guard(_check_files, spec)


def _check_files(spec: str) -> None:
    from tl_toolkit.data.sources.shard_files import find_shards, names_shards

    if names_shards(spec):
        find_shards(spec)
    elif not find_table(spec):
        find_folder(spec)


def find_table(spec: str) -> Path | None:
    """Return the table of that name; None if it is not named like one, or a folder is.

    Raises:
        UsageError: There is none.
    """
    if not spec.lower().endswith(TABLE_ENDINGS):
        return None
    path = expand_path(spec)
    if is_file(path):
        return path
    if is_folder(path):
        return None
    if "://" in spec:
        raise UsageError(f"{spec} is far away: download the table, whose images may be URLs, and name the file.")
    here = path.parent.is_dir()
    beside = [other.name for other in path.parent.iterdir() if other.suffix.lower() in TABLE_ENDINGS] if here else []
    near = difflib.get_close_matches(path.name, beside, n=3)
    suggestion = f" Did you mean {' or '.join(near)}?" if near else ""
    raise UsageError(f"There is no table {spec!r}.{suggestion}")


def find_folder(spec: str) -> Path:
    """Return the folder of that name.

    Raises:
        UsageError: There is none.
    """
    if spec.startswith(PYTHON_PREFIX):
        raise UsageError(f"{spec} stands for objects that Python gave; from Python, give them again.")
    folder = expand_path(spec)
    if not is_folder(folder):
        raise UsageError(_not_found(spec, folder))
    return folder


def _not_found(spec: str, folder: Path) -> str:
    if is_file(folder):
        return f"Data must be a folder of class folders, or a table ({', '.join(TABLE_ENDINGS)}), but {spec} is a file."
    if spec.lower() in CATALOGUE:
        return f"There is no folder {spec!r}. For torchvision's dataset say `torchvision:{spec.lower()}`."
    beside = [path.name for path in folder.parent.iterdir() if is_folder(path)] if is_folder(folder.parent) else []
    near = difflib.get_close_matches(folder.name, [*beside, DIGITS], n=3)
    suggestion = f" Did you mean {' or '.join(near)}?" if near else ""
    return f"There is no folder {spec!r}.{suggestion} Data can be {KINDS}."
