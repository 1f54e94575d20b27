"""The classes and functions that a pickled network may name, and what it may do with each.

A pickle is a program. A network's pickle makes modules, calls the few functions that rebuild tensors, and keeps layers
and activations. Nothing else is allowed; SECURITY.md has the reasons.
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
"""Arguments of `torch.serialization.safe_globals`."""

LAYERS = ("torch.nn.modules", "timm.layers", "torchvision.ops")
NETWORKS = ("torchvision.models", "timm.models", "tl_toolkit.models.classic")
"""Packages whose `nn.Module` classes a pickle may make, and of LAYERS also keep. Nothing else is imported. No class in
them opens a file, imports or evaluates anything when it is made, called or restored."""

MADE = ("argparse.Namespace", "timm.models._features.FeatureInfo")
"""Plain objects in networks, and the settings in checkpoints of timm's and torchvision's training scripts."""

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
"""Containers, and torch's functions except those that call their arguments. What a partial calls, it keeps."""

KEPT = (
    "timm.layers.activations.gelu",
    "timm.models.nextvit.NextConvBlock",
    "timm.models.nextvit.NextTransformerBlock",
    "torch._C._nn.gelu",
    "torch.nn.functional.relu",
)
"""Functions and blocks in networks. timm's fasternet is missing: its networks hold methods, which is not allowed."""

NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+", re.ASCII)
VERBS: dict[Use, str] = {"make": "makes a", "call": "calls", "keep": "holds"}


def allowed_globals(pickled: bytes, unknown: Iterable[str]) -> Allowed:
    """Return what to allow for a pickle that only builds a network.

    Args:
        pickled: Bytes of the pickle.
        unknown: Names in it that torch does not know as safe.

    Raises:
        UnsafeFileError: The pickle does something else.
        ValueError, IndexError, KeyError: The pickle is damaged.
    """
    allowed: dict[str, Callable[..., Any]] = {}
    for use, name in dict.fromkeys(uses(pickled)):
        if use == "keep" and is_tensor_type(name):
            continue
        found = _find(use, name)
        if found is None:
            raise UnsafeFileError(f"it {VERBS[use]} {name}")
        allowed[name] = found
    return [(allowed[name], name) for name in unknown if name in allowed]


def is_tensor_type(name: str) -> bool:
    """Return whether a name is that of a dtype or of its storage."""
    module, _, kind = name.rpartition(".")
    return module == "torch" and (kind.endswith("Storage") or isinstance(getattr(torch, kind, None), torch.dtype))


def _find(use: Use, name: str) -> Callable[..., Any] | None:
    """Return the object of a name if this use of it is allowed."""
    if name in {"make": MADE, "call": CALLED, "keep": KEPT}[use]:
        found: Callable[..., Any] = _resolve(name)
        return found
    if use == "call":
        return None
    return _module_class(name, LAYERS if use == "keep" else LAYERS + NETWORKS)


def _module_class(name: str, packages: tuple[str, ...]) -> type[nn.Module] | None:
    """Return the `nn.Module` class of that name in one of these packages, unless it has its own `__new__`."""
    if not NAME.fullmatch(name) or not _is_in(name.rpartition(".")[0], packages):
        return None
    try:
        found = _resolve(name)
    except (ImportError, AttributeError):
        return None
    if not isinstance(found, type) or not issubclass(found, nn.Module) or not _is_in(found.__module__, packages):
        return None
    return found if found.__new__ is object.__new__ else None  # A `__new__` may create code, as torch.fx's does.


def _is_in(module: str, packages: tuple[str, ...]) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)


def _resolve(name: str) -> Any:
    module, _, attribute = name.rpartition(".")
    return getattr(importlib.import_module(module), attribute)
