"""Which columns of an Arrow table are what, and their cells: Parquet files, and datasets of the library `datasets`."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tl_toolkit.data.sources.base import SourceOptions
from tl_toolkit.data.sources.columns import find_column, find_optional_column, given_column
from tl_toolkit.errors import DataError
from tl_toolkit.text import join_names, named

if TYPE_CHECKING:
    import pyarrow as pa

METADATA = b"huggingface"
"""Key of a schema's metadata under which `datasets` writes its features, as JSON."""


@dataclass(frozen=True)
class Columns:
    """The columns that matter.

    Attributes:
        image: The images or their paths.
        holds_images: Whether it has the images themselves.
        labels: The labels; several are a column a class.
        class_names: The classes in the order of the targets, if the features state them.
        split: The split of each row.
        group: The group of each row.
    """

    image: str
    holds_images: bool
    labels: tuple[str, ...]
    class_names: tuple[str, ...] | None
    split: str | None
    group: str | None

    @property
    def beside_image(self) -> list[str]:
        """The columns that are read as a whole, each once."""
        return list(dict.fromkeys([*self.labels, *filter(None, (self.split, self.group))]))


def read_features(metadata: Mapping[bytes, bytes] | None) -> dict[str, Any]:
    """Return the features that `datasets` wrote into a schema, by column; empty if there are none."""
    try:
        features = json.loads((metadata or {})[METADATA])["info"]["features"]
    except (KeyError, TypeError, ValueError):
        return {}
    return features if isinstance(features, dict) else {}


def choose_columns(
    schema: "pa.Schema", features: Mapping[str, Any], options: SourceOptions, where: str, find_split: bool = True
) -> Columns:
    """Find the columns by the user's names, by their features, by their types, and by usual names.

    Args:
        schema: Names and types of all columns.
        features: The features of `datasets`, by column, as far as they are known.
        options: Names that the user gives.
        where: What messages call the table.
        find_split: Whether to look for a column of splits that the user did not name.

    Raises:
        DataError: A column is missing, or several could be meant.
    """
    found = _Finder(schema, features, options, where)
    image = found.image()
    labels = found.labels(image)
    if image in labels:
        raise DataError(f"{where}: {image} cannot hold both the images and the labels; {found.columns_told()}.")
    group = None if options.group_column is None else given_column(options.group_column, schema.names, where)
    find = find_split or options.split_column is not None
    split = find_optional_column("split", schema.names, options.split_column, where) if find else None
    names = _class_names(features.get(labels[0])) if len(labels) == 1 else None
    return Columns(image, found.check_image(image), labels, names, split, group)


def read_cells(column: "pa.ChunkedArray") -> list[Any]:
    """Return the cells of a column of labels, splits or groups; whole numbers that pandas made floats are whole again.

    pandas stores whole numbers as floats if any of them is missing.
    """
    import pyarrow as pa

    cells: list[Any] = column.to_pylist()
    if pa.types.is_floating(column.type) and all(cell is None or cell != cell or cell == int(cell) for cell in cells):
        return [None if cell is None or cell != cell else int(cell) for cell in cells]
    return cells


def _class_names(feature: Any) -> tuple[str, ...] | None:
    """Return the class names of a feature: a ClassLabel, or a list of them."""
    if isinstance(feature, list) and len(feature) == 1:
        return _class_names(feature[0])
    if not isinstance(feature, Mapping):
        return None
    if "feature" in feature:
        return _class_names(feature["feature"])
    names = feature.get("names") if feature.get("_type") == "ClassLabel" else None
    return tuple(map(str, names)) if isinstance(names, list) else None


class _Finder:
    """Finds columns of a table."""

    def __init__(self, schema: "pa.Schema", features: Mapping[str, Any], options: SourceOptions, where: str) -> None:
        self.types: dict[str, Any] = dict(zip(schema.names, schema.types, strict=True))
        self.features, self.options, self.where = features, options, where
        if doubled := sorted({name for name in schema.names if schema.names.count(name) > 1}):
            raise DataError(f"{where} has several columns of the same name ({join_names(doubled)}): rename them.")

    def columns_told(self) -> str:
        """Return the columns for a message, each with its type."""
        return f"its columns are {join_names([f'{name} ({kind})' for name, kind in self._short_types().items()], 12)}"

    def image(self) -> str:
        """Return the column with the images, else that with their paths."""
        if self.options.path_column is not None:
            return given_column(self.options.path_column, list(self.types), self.where)
        stated = [name for name in self.types if _is_image(self.features.get(name))]
        several: list[str] = stated or [name for name, kind in self.types.items() if holds_images(kind)]
        if len(several) > 1:
            raise DataError(
                f"{self.where} has several columns of images ({join_names(several)}). Say which one holds the images: "
                f"{named('path_column', several[0])}, for example."
            )
        if several:
            return several[0]
        texts = [name for name, kind in self.types.items() if _is_text(kind)]
        if (name := find_optional_column("path", texts, None, self.where)) is not None:
            return name
        raise DataError(
            f"{self.where} has no column of images or of their paths: {self.columns_told()}. Images are bytes, or "
            f"structs with bytes; {named('path_column', 'COLUMN')} names a column of paths."
        )

    def labels(self, image: str) -> tuple[str, ...]:
        """Return the columns with the labels."""
        others = [name for name in self.types if name != image]
        if self.options.label_column:
            labels = tuple(given_column(name, list(self.types), self.where) for name in self.options.label_column)
        else:
            stated = [name for name in others if _class_names(self.features.get(name)) is not None]
            if len(stated) > 1:
                raise DataError(
                    f"{self.where} has several columns of labels ({join_names(stated)}). Say which one to learn: "
                    f"{named('label_column', stated[0])}, for example."
                )
            labels = tuple(stated) or (find_column("label", others, None, self.where),)
        for name in labels:
            self._check_label(name, per_class=len(labels) > 1)
        return labels

    def check_image(self, name: str) -> bool:
        """Return whether a column holds the images themselves rather than their paths.

        Raises:
            DataError: It holds neither.
        """
        if holds_images(self.types[name]):
            return True
        if _is_text(self.types[name]):
            return False
        raise DataError(
            f"{self.where}: {name} holds {self._short_types()[name]}, but images are bytes, structs with bytes, or "
            f"paths as text; {self.columns_told()}."
        )

    def _check_label(self, name: str, per_class: bool) -> None:
        """Refuse a column whose cells cannot be labels."""
        import pyarrow as pa

        kind = self.types[name]
        if not per_class and is_list(kind):
            kind = kind.value_type
        if pa.types.is_dictionary(kind):
            kind = kind.value_type
        numeric = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)
        if numeric or (_is_text(kind) and not per_class) or pa.types.is_null(kind):
            return
        expected = "numbers" if per_class else "text, whole numbers or lists of these"
        raise DataError(f"{self.where}: {name} holds {self._short_types()[name]}, but labels are {expected}.")

    def _short_types(self) -> dict[str, str]:
        return {name: "image" if _is_image_struct(kind) else str(kind)[:40] for name, kind in self.types.items()}


def holds_images(kind: "pa.DataType") -> bool:
    """Return whether cells of a type can be encoded images: bytes, or a struct that has them."""
    return _is_bytes(kind) or _is_image_struct(kind)


def is_list(kind: "pa.DataType") -> bool:
    """Return whether cells of a type are lists."""
    import pyarrow as pa

    checks = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    return any(check(kind) for check in checks)


def _is_image(feature: Any) -> bool:
    return isinstance(feature, Mapping) and feature.get("_type") == "Image"


def _is_image_struct(kind: "pa.DataType") -> bool:
    import pyarrow as pa

    if not pa.types.is_struct(kind):
        return False
    place = kind.get_field_index("bytes")
    return bool(place >= 0 and _is_bytes(kind.field(place).type))


def _is_bytes(kind: "pa.DataType") -> bool:
    import pyarrow as pa

    checks = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_fixed_size_binary, pa.types.is_binary_view)
    return any(check(kind) for check in checks)


def _is_text(kind: "pa.DataType") -> bool:
    import pyarrow as pa

    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))
