"""torchvision and timm, imported without torch's compiler: every other module takes them from here.

The compiler takes longer to import than both of them. They need of it, while they are imported, a decorator that keeps
it away from functions and one function that is called when boxes are aligned. For the decorator torch has another that
waits until the function is called; the module that holds the function is stood in for. Afterwards the compiler is
there for whoever asks for it.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType
from typing import Any

import torch

COMPILER = "torch._dynamo.utils"
LIBRARIES = ("timm", "torchvision")


class _StandIn(ModuleType):
    """Gives way to the real module as soon as something is called or anything else is asked of it."""

    @staticmethod
    def is_compile_supported(device_type: Any) -> Any:
        """Whether torch compiles for a device."""
        return _compiler().is_compile_supported(device_type)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # The import system looks whether there are such.
            raise AttributeError(name)
        return getattr(_compiler(), name)


# When code that calls it is compiled, its result is a constant, as of the real one.
_StandIn.is_compile_supported._dynamo_marked_constant = True  # type: ignore[attr-defined]


def _compiler() -> Any:
    if isinstance(sys.modules.get(COMPILER), _StandIn):
        del sys.modules[COMPILER]
    return import_module(COMPILER)


def _disable_when_called(fn: Any = None, recursive: bool = True, **_: Any) -> Any:
    """torch.compiler.disable, but for the reason that it can tell."""
    return torch._disable_dynamo(fn, recursive)  # type: ignore[attr-defined]  # missing in its __all__


@contextmanager
def _without_compiler() -> Iterator[None]:
    """Within the block, what is imported does not import the compiler."""
    disable = torch.compiler.disable
    torch.compiler.disable = _disable_when_called
    sys.modules.setdefault(COMPILER, _StandIn(COMPILER))
    try:
        yield
    finally:
        torch.compiler.disable = disable
        if isinstance(sys.modules.get(COMPILER), _StandIn):
            del sys.modules[COMPILER]


def __getattr__(name: str) -> Any:
    """Imports a library when a module first takes it from here."""
    if name not in LIBRARIES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    with _without_compiler():
        return import_module(name)
