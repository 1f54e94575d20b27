"""Validation of JSON that may be damaged, by msgspec."""

import dataclasses
import functools
import json
import sys
from typing import Annotated, Any, TypeVar

import msgspec

from tl_toolkit.errors import LARGEST

Parsed = TypeVar("Parsed")

Count = Annotated[int, msgspec.Meta(ge=0, le=LARGEST)]
Seconds = Annotated[float, msgspec.Meta(ge=0, le=sys.float_info.max)]
JsonObject = dict[str, Any]


def parse_json(text: str) -> Any:
    """Parse JSON; unlike msgspec's own parser this reads NaN and infinities.

    Raises:
        ValueError: The text is not JSON, or has an integer beyond 64 bits.
        RecursionError: It is nested too deeply.
    """
    return json.loads(text, parse_int=_parse_int)


def convert(value: Any, kind: Any, name: str = "") -> Any:
    """Convert a JSON value to a type with `msgspec.convert`; the message begins with `name`.

    Raises:
        ValueError: The value does not fit the type.
    """
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise ValueError(f"{name}: {error}" if name else str(error)) from error


def parse_dataclass(kind: type[Parsed], value: Any, name: str) -> Parsed:
    """Convert a JSON object to a dataclass, whose integers are counts; the message begins with `name`.

    Raises:
        ValueError: A field is missing, unknown or of another type.
    """
    return kind(**msgspec.structs.asdict(convert(value, _struct_of(kind), name)))  # type: ignore[arg-type]


@functools.cache
def _struct_of(kind: Any) -> type[msgspec.Struct]:
    """Return a Struct with a dataclass's fields: of a dataclass itself, msgspec accepts unknown fields."""
    fields = [
        (field.name, Count if field.type is int else field.type, msgspec.NODEFAULT)
        if field.default is dataclasses.MISSING
        else (field.name, field.type, field.default)
        for field in dataclasses.fields(kind)
    ]
    return msgspec.defstruct(kind.__name__, fields, forbid_unknown_fields=True)


def _parse_int(digits: str) -> int:
    if abs(number := int(digits)) > LARGEST:
        raise ValueError(f"the number {digits[:20]} is beyond 64 bits")
    return number
