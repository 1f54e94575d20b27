"""Datasets of the Hugging Face Hub, and folders that `datasets` saved; both are mapped into memory."""

import json
import os
from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any

from tl_toolkit.data.hub_images import HubTables
from tl_toolkit.data.sources.arrow_columns import choose_columns, read_cells
from tl_toolkit.data.sources.base import Source, SourceOptions
from tl_toolkit.data.sources.hub import ask_hub, fetch_dataset, hub_library, quiet_libraries
from tl_toolkit.data.sources.hub_name import HUB_PREFIX, parse_hub_name
from tl_toolkit.data.sources.parquet_files import choose_splits, is_saved
from tl_toolkit.data.sources.stored_rows import source_of_store
from tl_toolkit.errors import DataError
from tl_toolkit.io.files import expand_path
from tl_toolkit.io.reader_threads import call_with_stall_guard


def open_hub(spec: object, options: SourceOptions) -> Source | None:
    """Open "hf:ORG/NAME[@revision][:config]"; see `fetch_dataset`, and `stream_dataset` for `streaming`.

    Raises:
        DataError: It cannot be fetched, or is not as expected.
    """
    if not (isinstance(spec, str) and spec.startswith(HUB_PREFIX)):
        return None
    name = parse_hub_name(spec)
    short = name.repository.rpartition("/")[2]
    with quiet_libraries():
        answer = ask_hub(name)
        if options.streaming:
            from tl_toolkit.data.sources.hub_streaming import stream_dataset

            return stream_dataset(name, answer, options)
        found, notes = fetch_dataset(name, answer, options)
        source = source_of_datasets(found, short, str(name), options)
    source.notes[:0] = notes
    return source


def open_saved(spec: object, options: SourceOptions) -> Source | None:
    """Open a folder that `save_to_disk` of a Dataset or a DatasetDict wrote.

    Raises:
        DataError: It is damaged, or not as expected.
    """
    if not isinstance(spec, str) or not call_with_stall_guard(is_saved, spec):
        return None
    folder = expand_path(spec)
    with quiet_libraries():
        try:
            found = call_with_stall_guard(hub_library().load_from_disk, os.path.abspath(folder))  # noqa: PTH100  # keeps ..
        except Exception as error:  # The library's errors, and pyarrow's.
            reason = " ".join(str(error).split()).rstrip(".")[:300] or type(error).__name__
            raise DataError(
                f"{spec} cannot be read as a dataset that `datasets` saved: it is damaged or incomplete ({reason}). "
                "Save or copy it again."
            ) from error
        return source_of_datasets(found, folder.name, spec, options)


def source_of_datasets(found: Any, name: str, where: str, options: SourceOptions) -> Source:
    """Return the source of a Dataset or a DatasetDict.

    Args:
        found: The dataset; its images are not decoded.
        name: Short, for the name of the run.
        where: What messages call it.
        options: How to read it.

    Raises:
        DataError: Columns are missing or ambiguous, or labels are not as expected.
    """
    datasets, notes = _splits(found, where)
    if not sum(map(len, datasets.values())):
        raise DataError(f"{where} has no rows: it needs one for each image.")
    first = next(iter(datasets.values()))
    by_split = isinstance(found, Mapping) and options.split_column is None
    features = first.features.to_dict()
    columns = choose_columns(first.features.arrow_schema, features, options, where, find_split=not by_split)
    if not columns.holds_images:
        raise DataError(
            f"{where}: {columns.image} holds text. Of a Hugging Face dataset, the images themselves are read."
        )
    cells: dict[str, list[Any]] = {column: [] for column in columns.beside_image}
    paths, only_images = [], []
    for dataset in datasets.values():
        for column, values in cells.items():
            values += read_cells(_column(dataset, column))
        only_images.append(_undecoded(dataset, columns.image))
        paths.append(_paths(only_images[-1]))
    places = [f"{where} {split}" if by_split else where for split in datasets]
    store = HubTables(only_images, places, [_identity(dataset) for dataset in datasets.values()])
    splits = [split for split, dataset in datasets.items() for _ in range(len(dataset))] if by_split else None
    source = source_of_store(name, store, columns, cells, options, splits, _joined(paths))
    source.notes[:0] = notes
    return source


def _splits(found: Any, where: str) -> tuple[dict[str, Any], list[str]]:
    """Return the datasets by train, val and test, and notes."""
    if not isinstance(found, Mapping):
        return {"train": found}, []
    names, notes = choose_splits(list(found), where)
    return {split: found[name] for split, name in names.items()}, notes


def _column(dataset: Any, name: str) -> Any:
    """Return a column as pyarrow's ChunkedArray."""
    return dataset.select_columns([name]).with_format("arrow")[:].column(0)


def _undecoded(dataset: Any, column: str) -> Any:
    """Return the images alone, as bytes and paths."""
    feature_type = hub_library().Image
    images = dataset.select_columns([column]).with_format(None)
    if isinstance(images.features[column], feature_type):
        return images.cast_column(column, feature_type(decode=False))
    return images


def _paths(images: Any) -> Any:
    """Return the paths beside the images as pyarrow's ChunkedArray; only their pages are read."""
    import pyarrow as pa
    import pyarrow.compute as pc

    cells = images.with_format("arrow")[:].column(0)
    if not pa.types.is_struct(cells.type) or cells.type.get_field_index("path") < 0:
        return pa.chunked_array([pa.nulls(len(images), pa.string())])
    return pa.chunked_array([pc.struct_field(chunk, "path") for chunk in cells.chunks], pa.string())


def _joined(paths: list[Any]) -> Any:
    import pyarrow as pa

    return pa.chunked_array([chunk for column in paths for chunk in column.chunks], pa.string())


def _identity(dataset: Any) -> bytes:
    """Return what changes when a dataset does: its fingerprint, and names and sizes of its files."""
    files = [(Path(file["filename"]).name, Path(file["filename"]).stat().st_size) for file in dataset.cache_files]
    return blake2b(json.dumps([dataset._fingerprint, files]).encode(), digest_size=16).digest()
