"""Datasets of the Hugging Face Hub that are read in parts: labels at once, a Parquet file with images when needed."""

import functools
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING

from tl_toolkit.data.sources.base import Source, SourceOptions
from tl_toolkit.data.sources.hub import CONVERTED, HubAnswer, ask_hub, make_builder, script_of
from tl_toolkit.data.sources.hub_name import HubName
from tl_toolkit.data.sources.parquet import ListedFile, source_of_files
from tl_toolkit.data.sources.parquet_files import ENDING, choose_splits
from tl_toolkit.errors import DataError, UnknownNameError
from tl_toolkit.io.fingerprints import IDENTITY_BYTES
from tl_toolkit.io.remote_files import RemoteFiles
from tl_toolkit.text import join_names, named

if TYPE_CHECKING:
    import pyarrow.parquet as pq

PARTIAL = "partial-"
"""Begins the name of a split of which the Hub has converted only a part."""


@dataclass(frozen=True)
class HubParquet:
    """A Parquet file of the Hub, fetched into the cache of remote files when it is needed."""

    url: str
    files: RemoteFiles

    def fetch(self) -> Path:
        """Return its copy on this machine."""
        return self.files.fetch(self.url)


def stream_dataset(name: HubName, answer: HubAnswer, options: SourceOptions) -> Source:
    """Return a dataset whose images are fetched when they are needed, one Parquet file at a time.

    The files are its own, or those to which the Hub has converted it.

    Raises:
        DataError: The Hub cannot be asked, or has no Parquet files of it.
    """
    if answer.silence:
        raise DataError(f"{name} cannot be streamed: the Hugging Face Hub cannot be asked ({answer.silence}).")
    found = None if script_of(name, answer) or name.revision == CONVERTED else _own_files(name, answer)
    notes: list[str] = []
    if found is None:
        name = HubName(name.repository, CONVERTED, name.config)
        answer = _ask_converted(name)
        found, notes = _converted_files(name, answer)
    chosen, more = choose_splits(list(found), str(name))
    remote = RemoteFiles.of_size(options.cache_size)
    files = [
        _listed(name, answer, path, split, remote) for split, other in chosen.items() for path in sorted(found[other])
    ]
    source = source_of_files(files, Path(name.repository.rpartition("/")[2]), options)
    source.notes[:0] = [*notes, *more]
    return source


def _own_files(name: HubName, answer: HubAnswer) -> dict[str, list[str]] | None:
    """Return the paths of the Parquet files of each split; None if the dataset has other files."""
    splits = make_builder(name, answer).config.data_files or {}
    before = f"hf://datasets/{name.repository}@{answer.commit}/"
    found = {str(split): [str(file).removeprefix(before) for file in files] for split, files in splits.items()}
    paths = [path for files in found.values() for path in files]
    return found if paths and all(path.endswith(ENDING) and path in answer.files for path in paths) else None


def _ask_converted(name: HubName) -> HubAnswer:
    try:
        answer = ask_hub(name)
    except UnknownNameError as error:
        own = HubName(name.repository, None, name.config)
        raise DataError(
            f"{own} has no Parquet files, and the Hub has not converted it to such, so it cannot be streamed. Without "
            f"{named('streaming')} it is downloaded as a whole."
        ) from error
    if answer.silence:
        raise DataError(f"{name} cannot be streamed: the Hugging Face Hub cannot be asked ({answer.silence}).")
    return answer


def _converted_files(name: HubName, answer: HubAnswer) -> tuple[dict[str, list[str]], list[str]]:
    """Return the files of each split, from folders CONFIG/SPLIT, and a note if the Hub has converted only a part.

    Raises:
        DataError: There are several configs, or none of that name.
    """
    paths = [path for path in answer.files if path.endswith(ENDING) and path.count("/") == 2]
    configs = list(dict.fromkeys(path.partition("/")[0] for path in paths))
    if name.config is None and len(configs) > 1:
        example = HubName(name.repository, None, configs[0])
        raise DataError(
            f"{name} has several configs: {join_names(configs, 12)}. Say which one, for example "
            f"{named('data', str(example))}."
        )
    if name.config is not None and name.config not in configs:
        raise UnknownNameError(f"config of {name.repository}", name.config, configs, list_all=len(configs) <= 12)
    found: dict[str, list[str]] = {}
    for path in paths:
        config, split, _ = path.split("/")
        if config == (name.config or configs[0]):
            found.setdefault(split.removeprefix(PARTIAL), []).append(path)
    partial = any(path.split("/")[1].startswith(PARTIAL) for paths in found.values() for path in paths)
    note = f"Of {name.repository} the Hub has converted only the beginning to Parquet: the rest is left out."
    return found, [note] * partial


def _listed(name: HubName, answer: HubAnswer, path: str, split: str, files: RemoteFiles) -> ListedFile:
    url = f"hf://datasets/{name.repository}@{answer.commit}/{path}"
    identity = f"{name.repository}\0{path}\0{answer.files[path].content}"
    return ListedFile(
        path,
        split,
        HubParquet(url, files),
        blake2b(identity.encode(), digest_size=IDENTITY_BYTES).digest(),
        functools.partial(_open, url),
    )


def _open(url: str) -> "pq.ParquetFile":
    """Open a file such that only what is read of it is fetched: its end, and the columns of labels."""
    import huggingface_hub
    import pyarrow.parquet as pq

    system = huggingface_hub.HfFileSystem(endpoint=huggingface_hub.constants.ENDPOINT)
    return pq.ParquetFile(system.open(url, cache_type="none"))
