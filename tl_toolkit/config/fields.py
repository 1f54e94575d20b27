"""Settings: what a field of a config says of itself, and what a value must be to stand in it."""

import contextlib
import dataclasses
import math
import operator
import types
import typing
from dataclasses import dataclass
from typing import Any, Literal

import yaml

from tl_toolkit.errors import LARGEST
from tl_toolkit.text import flag_of, format_value, named


@dataclass(frozen=True, slots=True)
class FieldSpec:
    """What a field's metadata says about it beside its type and default."""

    help: str
    panel: str
    minimum: float | None = None
    above: float | None = None
    maximum: float | None = None
    below: float | None = None
    automatic: str = ""
    """What None means, in a few words."""
    number_too: bool = False
    """Whether text may also be given as a number."""


def setting(default: Any, help: str, panel: str, **limits: Any) -> Any:
    """A dataclass field that carries its `FieldSpec`."""
    return dataclasses.field(default=default, metadata={"setting": FieldSpec(help, panel, **limits)})


def flag_name(field: "dataclasses.Field[Any]") -> str:
    """The name of a field's flag as Python and YAML write it: `lr` for `learning_rate`."""
    return flag_of(field.name).removeprefix("--").replace("-", "_")


def choices_of(annotation: Any) -> tuple[str, ...]:
    """The values that a Literal, or a tuple of Literals, admits; empty for any other type."""
    if typing.get_origin(annotation) is tuple:
        annotation = typing.get_args(annotation)[0]
    return typing.get_args(annotation) if typing.get_origin(annotation) is Literal else ()


def is_optional(annotation: Any) -> bool:
    """Whether a type is `... | None`; of a Literal, typing makes a Union of its own."""
    return isinstance(annotation, types.UnionType) or typing.get_origin(annotation) is typing.Union


def without_none(annotation: Any) -> Any:
    """`int | None` becomes `int`; other types stay."""
    if is_optional(annotation):
        return next(part for part in typing.get_args(annotation) if part is not types.NoneType)
    return annotation


def coerce(field: dataclasses.Field[Any], value: Any) -> Any:
    """Takes over what YAML writes differently: `1e-3` is text there, and a tuple is a list."""
    kind = without_none(field.type)
    if kind is float and isinstance(value, str | int) and not isinstance(value, bool):
        with contextlib.suppress(ValueError, OverflowError):
            return float(value)
        return value
    with contextlib.suppress(ValueError):  # Python writes no numbers of thousands of digits.
        if field.metadata["setting"].number_too and isinstance(value, int | float) and not isinstance(value, bool):
            return str(value)
        if typing.get_origin(kind) is tuple and isinstance(value, dict):
            return tuple(f"{name}={item}" for name, item in value.items())
    return tuple(value) if typing.get_origin(kind) is tuple and isinstance(value, list) else value


def validate(field: dataclasses.Field[Any], value: Any) -> str | None:
    """What is wrong with a field's value, as a sentence."""
    if value is None and is_optional(field.type):
        return None
    kind = without_none(field.type)
    if choices := choices_of(kind):
        given = value if typing.get_origin(kind) is tuple else (value,)
        if not isinstance(given, tuple) or any(item not in choices for item in given):
            return f"{named(field.name)} must be {' or '.join(choices)}, not {format_value(value)}."
        return None
    if typing.get_origin(kind) is tuple:
        texts = isinstance(value, tuple) and all(isinstance(item, str) for item in value)
        return None if texts else f"{named(field.name)} must be a list of text, not {format_value(value)}."
    if kind is float and isinstance(value, int) and not isinstance(value, bool) and abs(value) <= LARGEST:
        value = float(value)
    if type(value) is not kind:
        words = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}
        return f"{named(field.name)} must be {words[kind]}, not {format_value(value)}."
    if isinstance(value, str) and not value.strip(" \t\n"):
        return f"{named(field.name)} must not be empty: leave it out, or say what it is."
    return _out_of_range(named(field.name), field.metadata["setting"], value)


def _out_of_range(name: str, limits: FieldSpec, value: Any) -> str | None:
    if isinstance(value, str | bool):
        return None
    if isinstance(value, int) and limits.maximum is None and abs(value) > LARGEST:
        return f"{name} must be below 2^63, not {format_value(value)}."
    bounds = [
        ("at least", limits.minimum, operator.ge),
        ("above", limits.above, operator.gt),
        ("at most", limits.maximum, operator.le),
        ("below", limits.below, operator.lt),
    ]
    asked = [(words, bound, holds) for words, bound, holds in bounds if bound is not None]
    finite = not isinstance(value, float) or math.isfinite(value)
    if finite and all(holds(value, bound) for _, bound, holds in asked):
        return None
    wanted = " and ".join(f"{words} {bound}" for words, bound, _ in asked)
    return f"{name} must be {wanted}, not {value!r}."


class _Loader(yaml.SafeLoader):
    """YAML without aliases: with them a few lines can stand for more than fits into memory."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Makes a node of what comes next."""
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.MarkedYAMLError(problem="settings have no aliases (*name); write the value", problem_mark=mark)
        return super().compose_node(parent, index)


def read_yaml(text: str) -> Any:
    """One YAML value.

    Raises:
        ValueError: It is none.
    """
    try:
        return yaml.load(text, _Loader)  # noqa: S506  # a SafeLoader
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    except (yaml.YAMLError, ArithmeticError, AttributeError, LookupError, TypeError) as error:
        raise ValueError(str(error)) from error  # Not all that makes no sense is a YAMLError, such as !!bool perhaps.
