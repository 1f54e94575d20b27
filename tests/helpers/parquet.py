"""Parquet files with images in them."""

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
"""The type of an image in Hugging Face's format."""


def png(value: int, size: int = 8) -> bytes:
    """Return an image of one gray value."""
    file = io.BytesIO()
    Image.new("RGB", (size, size), (value, value, value)).save(file, "PNG")
    return file.getvalue()


def image_cells(folder: Path) -> list[tuple[dict[str, Any], str]]:
    """Return image and class of each file of a folder with class folders, in the order of such a source."""
    return [
        ({"bytes": file.read_bytes(), "path": f"{kind.name}/{file.name}"}, kind.name)
        for kind in sorted(folder.iterdir())
        for file in sorted(kind.iterdir())
    ]


def write_parquet(
    path: Path,
    columns: Mapping[str, Sequence[Any] | pa.Array],
    row_group_size: int = 100,
    features: Mapping[str, Any] | None = None,
) -> Path:
    """Write columns, of which structs are images, with the features of Hugging Face if they are given.

    Returns:
        `path`.
    """
    arrays = {name: _array(values) for name, values in columns.items()}
    table = pa.table(arrays)
    if features is not None:
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, row_group_size=row_group_size)
    return path


def write_folder(path: Path, folder: Path, row_group_size: int = 100, **more: Sequence[Any]) -> Path:
    """Write the images of a folder with class folders, with the columns image and label.

    Returns:
        `path`.
    """
    cells = image_cells(folder)
    columns = {"image": [image for image, _ in cells], "label": [label for _, label in cells]}
    return write_parquet(path, columns | more, row_group_size)


def _array(values: Sequence[Any] | pa.Array) -> pa.Array:
    if isinstance(values, pa.Array):
        return values
    is_image = any(isinstance(value, dict) and "bytes" in value for value in values)
    return pa.array(values, IMAGE if is_image else None)
