"""The fields of a config: their help and limits, and the validation of their values."""

import contextlib
import dataclasses
import math
import operator
import types
import typing
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

import yaml

from tl_toolkit.errors import LARGEST
from tl_toolkit.text import flag_of, format_value, named


@dataclass(frozen=True, slots=True)
class FieldSpec:
    """Metadata of a field: the help and panel of its flag, and the limits of its value."""

    help: str
    panel: str
    ge: float | None = None
    gt: float | None = None
    le: float | None = None
    lt: float | None = None
    default_help: str = ""
    """What the default None means."""
    accepts_number: bool = False
    """Whether a text may also be written as a number."""
    metavar: str = "KEY=VALUE"
    """What the help calls an item of a list of text without choices."""
    choices: Callable[[], Iterable[str]] | None = None
    """Names that a list of text may hold, where other packages can add some; looked up when a value is checked."""


def setting(panel: str, default: Any, help: str, **limits: Any) -> Any:
    """Return a dataclass field that carries its `FieldSpec`."""
    return dataclasses.field(default=default, metadata={"setting": FieldSpec(help, panel, **limits)})


def flag_name(field: "dataclasses.Field[Any]") -> str:
    """Return the name of a field's flag in Python and YAML: `lr` for `learning_rate`."""
    return flag_of(field.name).removeprefix("--").replace("-", "_")


def choices_of(annotation: Any) -> tuple[str, ...]:
    """Return the values of a Literal; empty for other types."""
    return typing.get_args(annotation) if typing.get_origin(annotation) is Literal else ()


def is_optional(annotation: Any) -> bool:
    """Return whether a type is `... | None`; for a Literal this is a `typing.Union`."""
    return isinstance(annotation, types.UnionType) or typing.get_origin(annotation) is typing.Union


def without_none(annotation: Any) -> Any:
    """Return `int` for `int | None`, and other types unchanged."""
    if is_optional(annotation):
        return next(part for part in typing.get_args(annotation) if part is not types.NoneType)
    return annotation


def coerce(field: dataclasses.Field[Any], value: Any) -> Any:
    """Return a value with the field's type where YAML has another: `1e-3` is text there, and a tuple is a list."""
    kind = without_none(field.type)
    if kind is float and isinstance(value, str | int) and not isinstance(value, bool):
        with contextlib.suppress(ValueError, OverflowError):
            return float(value)
        return value
    with contextlib.suppress(ValueError):  # Python does not print integers of thousands of digits.
        if field.metadata["setting"].accepts_number and isinstance(value, int | float) and not isinstance(value, bool):
            return str(value)
        if typing.get_origin(kind) is tuple and isinstance(value, dict):
            return tuple(f"{name}={item}" for name, item in value.items())
    return tuple(value) if typing.get_origin(kind) is tuple and isinstance(value, list) else value


def validate(field: dataclasses.Field[Any], value: Any) -> str | None:
    """Return what is wrong with a field's value as a sentence, or None."""
    if value is None and is_optional(field.type):
        return None
    kind = without_none(field.type)
    spec: FieldSpec = field.metadata["setting"]
    if choices := choices_of(kind):
        return None if value in choices else _not_among(field.name, choices, value)
    if spec.choices:
        known = isinstance(value, tuple) and all(item in spec.choices() for item in value)
        return None if known else _not_among(field.name, spec.choices(), value)
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
    return _out_of_range(named(field.name), spec, value)


def _not_among(name: str, choices: Iterable[str], value: object) -> str:
    return f"{named(name)} must be {' or '.join(choices)}, not {format_value(value)}."


def _out_of_range(name: str, limits: FieldSpec, value: Any) -> str | None:
    if isinstance(value, str | bool):
        return None
    if isinstance(value, int) and limits.le is None and abs(value) > LARGEST:
        return f"{name} must be below 2^63, not {format_value(value)}."
    bounds = [
        ("at least", limits.ge, operator.ge),
        ("above", limits.gt, operator.gt),
        ("at most", limits.le, operator.le),
        ("below", limits.lt, operator.lt),
    ]
    required = [(words, bound, holds) for words, bound, holds in bounds if bound is not None]
    finite = isinstance(value, int) or math.isfinite(value)
    if finite and all(holds(value, bound) for _, bound, holds in required):
        return None
    expected = " and ".join(f"{words} {bound}" for words, bound, _ in required)
    return f"{name} must be {expected}, not {value!r}."


class _Loader(yaml.SafeLoader):
    """YAML without aliases, with which a few lines can expand beyond any memory."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Compose the next node."""
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.MarkedYAMLError(problem="settings have no aliases (*name); write the value", problem_mark=mark)
        return super().compose_node(parent, index)


def read_yaml(text: str) -> Any:
    """Parse one YAML value.

    Raises:
        ValueError: The text is not valid YAML.
    """
    try:
        return yaml.load(text, _Loader)  # noqa: S506  # a SafeLoader
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    except (yaml.YAMLError, ArithmeticError, AttributeError, LookupError, TypeError) as error:
        raise ValueError(str(error)) from error  # PyYAML raises more than YAMLError, on !!bool perhaps for one.
