"""Which classes and functions a pickled network may name, and what it may do with each.

A pickle is a program. A network's pickle makes modules, calls the few functions that put tensors together, and keeps
layers and activations; that is allowed, and nothing else. SECURITY.md has the reasons.
"""

import importlib
import re
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn

from tl_toolkit.errors import UnsafeFileError
from tl_toolkit.models.pickles.scan import Use, uses

Allowed = list[Callable[..., Any] | tuple[Callable[..., Any], str]]
"""As `torch.serialization.safe_globals` takes them."""

LAYERS = ("torch.nn.modules", "timm.layers", "torchvision.ops")
NETWORKS = ("torchvision.models", "timm.models", "tl_toolkit.models.classic")
"""Packages whose `nn.Module` classes may be made; those of layers may be kept too. Nothing else is imported. No class
in them opens a file, imports or evaluates anything when it is made, called or restored."""

MADE = ("timm.models._features.FeatureInfo",)
"""Plain objects that networks hold."""

CALLED = (
    "builtins.complex",
    "builtins.set",
    "collections.OrderedDict",
    "functools.partial",
    "timm.layers.format.Format",
    "torch.Size",
    "torch._utils._rebuild_parameter",
    "torch._utils._rebuild_parameter_with_state",
    "torch._utils._rebuild_tensor_v2",
    "torch.device",
)
"""Containers, and torch's own but for those that call whatever they are given. What a partial calls, it keeps."""

KEPT = (
    "timm.layers.activations.gelu",
    "timm.models.nextvit.NextConvBlock",
    "timm.models.nextvit.NextTransformerBlock",
    "torch._C._nn.gelu",
    "torch.nn.functional.relu",
)
"""Functions and blocks that networks hold. Those of timm's fasternet hold methods of theirs, which is not allowed."""

NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+", re.ASCII)
VERBS: dict[Use, str] = {"make": "makes a", "call": "calls", "keep": "holds"}


def allowed_globals(pickled: bytes, unknown: Iterable[str]) -> Allowed:
    """What must be allowed for a pickle that does nothing but put a network together.

    Args:
        pickled: Its bytes.
        unknown: Names in it that torch does not know as safe.

    Raises:
        UnsafeFileError: It does something else.
        ValueError, IndexError, KeyError: It is damaged.
    """
    allowed: dict[str, Callable[..., Any]] = {}
    for use, name in dict.fromkeys(uses(pickled)):
        if use == "keep" and is_kind_of_tensor(name):
            continue
        found = _find(use, name)
        if found is None:
            raise UnsafeFileError(f"it {VERBS[use]} {name}")
        allowed[name] = found
    return [(allowed[name], name) for name in unknown if name in allowed]


def is_kind_of_tensor(name: str) -> bool:
    """Whether a name is that of a dtype, or of the storage of one."""
    module, _, kind = name.rpartition(".")
    return module == "torch" and (kind.endswith("Storage") or isinstance(getattr(torch, kind, None), torch.dtype))


def _find(use: Use, name: str) -> Callable[..., Any] | None:
    """What a name stands for, where this may be done with it."""
    if name in {"make": MADE, "call": CALLED, "keep": KEPT}[use]:
        found: Callable[..., Any] = _resolve(name)
        return found
    if use == "call":
        return None
    return _module_class(name, LAYERS if use == "keep" else LAYERS + NETWORKS)


def _module_class(name: str, packages: tuple[str, ...]) -> type[nn.Module] | None:
    """The `nn.Module` class of that name in one of these packages, if it is one that is made plainly."""
    if not NAME.fullmatch(name) or not _is_in(name.rpartition(".")[0], packages):
        return None
    try:
        found = _resolve(name)
    except (ImportError, AttributeError):
        return None
    if not isinstance(found, type) or not issubclass(found, nn.Module) or not _is_in(found.__module__, packages):
        return None
    return found if found.__new__ is object.__new__ else None  # Others make code, such as torch.fx's.


def _is_in(module: str, packages: tuple[str, ...]) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)


def _resolve(name: str) -> Any:
    module, _, attribute = name.rpartition(".")
    return getattr(importlib.import_module(module), attribute)
