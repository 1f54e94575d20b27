"""What a pickle builds, without its classes: every name in it becomes an empty object that only remembers.

Nothing in the pickle can run: what it calls is one of these objects, and what it fills keeps the content aside.
"""

import io
import pickle
from collections import OrderedDict
from collections.abc import Callable
from typing import IO, Any

from tl_toolkit.errors import LARGEST
from tl_toolkit.models.inspection.content import StoredTensor
from tl_toolkit.text import format_value

STORAGES = {
    "Bool": "bool", "Byte": "uint8", "Char": "int8", "Short": "int16", "Int": "int32", "Long": "int64",
    "Half": "float16", "BFloat16": "bfloat16", "Float": "float32", "Double": "float64", "ComplexFloat": "complex64",
    "ComplexDouble": "complex128", "QInt8": "qint8", "QUInt8": "quint8", "QInt32": "qint32", "Untyped": "uint8",
}  # fmt: skip
"""Types of torch's storages by the beginning of their class's name (torch/storage.py)."""

LEGACY_PICKLES = 4
"""Pickles in a file of torch before 1.6: three about the file, then the object."""

CONTAINERS = ("collections.OrderedDict",)


class Remembered:
    """Stands for an object of any class: it runs nothing, and keeps what it was made from and filled with.

    Attributes:
        full_name: Module and name of the class.
        arguments: What it was called with.
        state: What its attributes were set to.
        items: What was put into it.
    """

    full_name = ""
    arguments: tuple[Any, ...]
    state: Any
    items: list[Any]

    def __new__(cls, *arguments: Any, **_: Any) -> "Remembered":
        """Keep the arguments, whatever they are."""
        made = object.__new__(cls)
        made.arguments, made.state, made.items = arguments, None, []
        return made

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def __setitem__(self, key: Any, value: Any) -> None:
        self.items.append((key, value))

    def append(self, item: Any) -> None:
        """Remember an item."""
        self.items.append(item)

    def extend(self, items: Any) -> None:
        """Remember items."""
        self.items.extend(items)

    def add(self, item: Any) -> None:
        """Remember an item."""
        self.items.append(item)

    @property
    def attributes(self) -> dict[str, Any]:
        """The attributes that a pickle sets; empty if it sets none."""
        state = self.state
        if isinstance(state, tuple) and len(state) == 2:  # Attributes, and those with slots.
            state = state[0]
        return state if isinstance(state, dict) else {}


class _Storage:
    """The numbers of tensors, which lie elsewhere in the file."""

    def __init__(self, dtype: str) -> None:
        self.dtype = dtype


class Outline(pickle._Unpickler):
    """Reads a pickle, and makes nothing but containers, tensors without numbers, and `Remembered` objects.

    The C implementation would reserve memory for as many objects as a damaged file claims to have.

    Attributes:
        names: Classes and functions that the pickle names, in its order.
    """

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__(file, encoding="utf-8")
        self.names: dict[str, type[Any] | Callable[..., Any]] = {}

    def find_class(self, module: str, name: str) -> Any:
        """Return what stands for a class or function; nothing is imported."""
        full = f"{'builtins' if module == '__builtin__' else module}.{name}"
        if full not in self.names:
            made = REBUILT.get(full) or type("Remembered", (Remembered,), {"full_name": full})
            self.names[full] = OrderedDict if full in CONTAINERS else made
        return self.names[full]

    def persistent_load(self, pid: Any) -> _Storage:
        """Return what stands for the numbers of a tensor.

        Raises:
            ValueError: They are of a type that torch does not have.
        """
        kind = getattr(pid[1], "full_name", "") if isinstance(pid, tuple) and len(pid) > 1 else ""
        beginning = kind.rpartition(".")[2].removesuffix("Storage")
        if beginning not in STORAGES:
            raise ValueError(f"it refers to {kind or 'something'} outside of the pickle")
        return _Storage(STORAGES[beginning])


def _tensor(storage: Any, offset: Any, size: Any, *_: Any) -> StoredTensor:
    """Stand for torch._utils._rebuild_tensor and _rebuild_tensor_v2."""
    del offset
    return StoredTensor("", storage.dtype, shape_of(size))


def shape_of(size: Any) -> tuple[int, ...]:
    """Return the shape of a tensor.

    Raises:
        ValueError: It is none.
    """
    if not isinstance(size, tuple | list) or not all(type(side) is int and 0 <= side <= LARGEST for side in size):
        raise ValueError(f"it has a tensor of the shape {format_value(size)}")
    return tuple(size)


def _typed_tensor(storage: Any, offset: Any, size: Any, stride: Any, grad: Any, hooks: Any, dtype: Any, *_: Any) -> Any:
    """Stand for torch._utils._rebuild_tensor_v3."""
    del storage, offset, stride, grad, hooks
    return StoredTensor("", getattr(dtype, "full_name", "").rpartition(".")[2], shape_of(size))


def _pickled_storage(content: Any) -> Any:
    """Stand for torch.storage._load_from_bytes, by which plain pickles hold their numbers: as torch.save wrote them."""
    inner = Outline(io.BytesIO(content))
    for _ in range(LEGACY_PICKLES):
        loaded = inner.load()
    return loaded


def _first(value: Any, *_: Any) -> Any:
    """Stand for functions that return their first argument with something added."""
    return value


def _subclass(function: Any, kind: Any, arguments: Any, *_: Any) -> Any:
    """Stand for torch._tensor._rebuild_from_type_v2: a tensor of a class of its own."""
    del kind
    return function(*arguments)


REBUILT: dict[str, Callable[..., Any]] = {
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _typed_tensor,
    "torch._utils._rebuild_qtensor": _tensor,
    "torch._utils._rebuild_parameter": _first,
    "torch._utils._rebuild_parameter_with_state": _first,
    "torch.storage._load_from_bytes": _pickled_storage,
    "torch._tensor._rebuild_from_type_v2": _subclass,
}
"""What stands for the functions by which torch rebuilds tensors (torch/_utils.py)."""
