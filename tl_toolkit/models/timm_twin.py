"""timm's own network with the weights of another: what timm, and the Hugging Face Hub, can load without the toolkit."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from tl_toolkit.config.choices import Head
from tl_toolkit.errors import ModelError
from tl_toolkit.input_spec import InputSpec
from tl_toolkit.io.module_weights import load_weights
from tl_toolkit.models.backbones import Arch
from tl_toolkit.models.build import rebuild_network
from tl_toolkit.models.classic import CLASSIC
from tl_toolkit.models.classic.resnet_digits import to_torchvision
from tl_toolkit.models.heads import APPENDED, classifier_path
from tl_toolkit.models.layouts import TWINS, renamed
from tl_toolkit.text import named


@dataclass(frozen=True)
class TimmTwin:
    """timm's network that computes the same as another.

    Attributes:
        arch: timm's name, with the options that build it.
        module: The network with the weights, in eval mode.
        classifier: Name of its last layer.
        changed: What is not as in the original, as a sentence; empty if only names are.
    """

    arch: Arch
    module: nn.Module
    classifier: str
    changed: str = ""


def timm_twin(
    module: nn.Module, arch: Arch, head: Head, head_modules: tuple[str, ...], outputs: int, spec: InputSpec
) -> TimmTwin:
    """Build timm's own network, as `timm.create_model(NAME, num_classes=N)` does, with the weights of a network.

    An appended Linear and the one before it become one, which gives the same logits but for rounding.

    Args:
        module: A trained network.
        arch: Its name and library.
        head: How its classifier was changed.
        head_modules: Names of the modules of its head.
        outputs: Number of logits.
        spec: The pixels that it expects.

    Raises:
        ModelError: timm has no such network; the message is the reason, as the end of a sentence.
    """
    name, options = _timm_name(arch)
    if head == "mlp":
        raise ModelError(f"its networks end in one Linear, and {named('head', 'mlp')} has two")
    state = dict(module.state_dict())
    changed = ""
    if head == "append":
        state = _folded(state, module, head_modules)
        changed = "The appended Linear and the one before it are one."
    if arch.name in CLASSIC:
        state = to_torchvision(state)
    built = Arch("timm", name, options)
    twin, _ = rebuild_network(built, outputs, "swap", outputs, spec)
    if arch.library == "torchvision" and state.keys() != twin.state_dict().keys():
        state = renamed(state, twin.state_dict())
    try:
        load_weights(twin, state)
    except RuntimeError as error:
        raise ModelError(f"its {name} has other layers") from error
    return TimmTwin(built, twin.eval(), classifier_path(twin, built), changed)


def _timm_name(arch: Arch) -> tuple[str, Mapping[str, Any]]:
    """Return timm's name of a network, and the options to build it with.

    Raises:
        ModelError: timm does not have it.
    """
    if arch.name == "resnet18_digits":
        return "resnet18", {}
    if arch.library == "timm" and arch.name not in CLASSIC:
        return arch.name, arch.options
    if arch.name not in TWINS:
        raise ModelError(f"it has no {arch.name}")
    if arch.options:
        raise ModelError(f"its {arch.name} has other options than {', '.join(arch.options)}")
    return TWINS[arch.name]


def _folded(
    state: Mapping[str, torch.Tensor], module: nn.Module, head_modules: tuple[str, ...]
) -> dict[str, torch.Tensor]:
    """Return a state_dict in which the appended Linear and the one before it are one.

    Raises:
        ModelError: It is not known which they are.
    """
    if len(head_modules) != 1:
        raise ModelError("the file does not name the layer that was appended")
    last = head_modules[0]
    parent, _, child = last.rpartition(".")
    if child == APPENDED:
        before = f"{parent}.{list(module.get_submodule(parent)._modules)[-2]}"
        place = before
    else:
        before, place = f"{parent}.0", parent
    first, second = (_affine(state, path) for path in (before, last))
    kept = {name: tensor for name, tensor in state.items() if not name.startswith((f"{before}.", f"{last}."))}
    weight, bias = second[0] @ first[0], second[0] @ first[1] + second[1]
    kept[f"{place}.weight"] = weight.to(state[f"{last}.weight"].dtype)
    kept[f"{place}.bias"] = bias.to(state[f"{last}.weight"].dtype)
    return kept


def _affine(state: Mapping[str, torch.Tensor], path: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Return weight and bias of a Linear in float64, as their product needs it."""
    weight = state[f"{path}.weight"].double()
    bias = state.get(f"{path}.bias")
    return weight, torch.zeros(len(weight), dtype=torch.float64) if bias is None else bias.double()
