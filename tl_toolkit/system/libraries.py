"""torchvision and timm, imported without torch's compiler: every other module imports them from here.

The compiler takes longer to import than both. At import they need only two parts of it: a decorator that disables
compilation, for which torch has a lazy version, and a function that is called when boxes are aligned, in a module that
is replaced by a stand-in. Afterwards the compiler can be imported as usual.
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
    """Stand-in for a module, which imports the real one on the first call or attribute access."""

    @staticmethod
    def is_compile_supported(device_type: Any) -> Any:
        """Return whether torch compiles for a device."""
        return _compiler().is_compile_supported(device_type)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # The import system looks for them.
            raise AttributeError(name)
        return getattr(_compiler(), name)


# Compiled code treats its result as a constant, as it does with the real one.
_StandIn.is_compile_supported._dynamo_marked_constant = True  # type: ignore[attr-defined]


def _compiler() -> Any:
    if isinstance(sys.modules.get(COMPILER), _StandIn):
        del sys.modules[COMPILER]
    return import_module(COMPILER)


def _disable_when_called(fn: Any = None, recursive: bool = True, **_: Any) -> Any:
    """Replace torch.compiler.disable, without its argument `reason`."""
    return torch._disable_dynamo(fn, recursive)  # type: ignore[attr-defined]  # missing in its __all__


@contextmanager
def _without_compiler() -> Iterator[None]:
    """Keep imports within the block from importing the compiler."""
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
    """Import a library on first access."""
    if name not in LIBRARIES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    with _without_compiler():
        return import_module(name)
