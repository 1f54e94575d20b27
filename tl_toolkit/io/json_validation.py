"""Values from JSON files that may be damaged: each is checked to be what it must be."""

import dataclasses
import math
from typing import Any, TypeVar

from tl_toolkit.errors import LARGEST
from tl_toolkit.text import format_value

Record = TypeVar("Record")


def whole_number(value: Any, name: str) -> int:
    """A count.

    Raises:
        ValueError: It is none.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= LARGEST:
        raise ValueError(f"{name} must be a whole number of 0 or more, not {format_value(value)}")
    return value


def number(value: Any, name: str) -> float:
    """A number; NaN and infinity are some.

    Raises:
        ValueError: It is none.
    """
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or (isinstance(value, int) and abs(value) > LARGEST)
    ):
        raise ValueError(f"{name} must be a number, not {format_value(value)}")
    return float(value)


def duration(value: Any, name: str) -> float:
    """Seconds.

    Raises:
        ValueError: They are none.
    """
    if not 0 <= number(value, name) < math.inf:
        raise ValueError(f"{name} must be 0 or more seconds, not {format_value(value)}")
    return float(value)


def mapping(value: Any, name: str) -> dict[str, Any]:
    """An object of JSON.

    Raises:
        ValueError: It is none.
    """
    if not isinstance(value, dict):
        raise ValueError(f"{name} must be a mapping, not {format_value(value)}")
    return value


def record(kind: type[Record], values: Any, name: str) -> Record:
    """A dataclass of texts, counts and numbers.

    Args:
        kind: The dataclass.
        values: What JSON says of it.
        name: What an error calls it.

    Raises:
        ValueError: A field is missing, unknown or of another type.
    """
    given = mapping(values, name)
    fields = {field.name: field.type for field in dataclasses.fields(kind)}  # type: ignore[arg-type]  # a dataclass
    if given.keys() != fields.keys():
        differing = ", ".join(sorted(given.keys() ^ fields.keys()))
        raise ValueError(f"{name} has other fields than it must: {format_value(differing)}")
    return kind(**{key: _field(value, fields[key], f"{key} of {name}") for key, value in given.items()})


def _field(value: Any, kind: Any, name: str) -> str | int | float:
    if kind is int:
        return whole_number(value, name)
    if kind is float:
        return number(value, name)
    if not isinstance(value, str):
        raise ValueError(f"{name} must be text, not {format_value(value)}")
    return value
