"""timm's own network with the weights of another: what timm, and the Hugging Face Hub, can load without the toolkit."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from tl_toolkit.config.choices import Head
from tl_toolkit.errors import ModelError
from tl_toolkit.input_spec import InputSpec
from tl_toolkit.models.backbones import Arch
from tl_toolkit.models.build import rebuild_network
from tl_toolkit.models.classic import CLASSIC
from tl_toolkit.models.classic.resnet_digits import to_torchvision
from tl_toolkit.models.heads import APPENDED, classifier_path
from tl_toolkit.text import named

SMALL_EPSILON = {"bn_eps": 1e-3}
"""Of the BatchNorm layers, where torchvision's differ from timm's 1e-5 (torchvision/models/efficientnet.py and
mobilenetv3.py)."""

SAME_NAMES = (
    *("resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "resnext50_32x4d", "resnext101_32x8d"),
    *("resnext101_64x4d", "wide_resnet50_2", "wide_resnet101_2", "inception_v3"),
    *("densenet121", "densenet161", "densenet169", "densenet201"),
    *("vgg11", "vgg11_bn", "vgg13", "vgg13_bn", "vgg16", "vgg16_bn", "vgg19", "vgg19_bn"),
    *("convnext_tiny", "convnext_small", "convnext_base", "convnext_large"),
    *(f"efficientnet_b{number}" for number in range(5)),
)
"""Networks of torchvision that timm has by the same name."""

REGNETS = {"400mf": "004", "800mf": "008", "1_6gf": "016", "3_2gf": "032", "8gf": "080", "16gf": "160", "32gf": "320"}

TWINS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    **{name: (name, {}) for name in SAME_NAMES},
    **{f"efficientnet_b{number}": (f"efficientnet_b{number}", SMALL_EPSILON) for number in range(5, 8)},
    **{f"efficientnet_v2_{size}": (f"efficientnetv2_{size}", SMALL_EPSILON) for size in "sml"},
    **{f"mobilenet_v3_{size}": (f"mobilenetv3_{size}_100", SMALL_EPSILON) for size in ("small", "large")},
    **{f"mnasnet{width}": (f"mnasnet_{width.replace('_', ''):0<3}", {}) for width in ("0_5", "0_75", "1_0")},
    **{f"regnet_{kind}_{flops}": (f"regnet{kind}_{size}", {}) for kind in "xy" for flops, size in REGNETS.items()},
    "regnet_x_400mf": ("regnetx_004_tv", {}),
    "regnet_y_800mf": ("regnety_008_tv", {}),
    "regnet_y_8gf": ("regnety_080_tv", {}),
    "mobilenet_v2": ("mobilenetv2_100", {}),
    "vit_b_16": ("vit_base_patch16_224", {}),
    "vit_b_32": ("vit_base_patch32_224", {}),
    "vit_l_16": ("vit_large_patch16_224", {}),
    "vit_l_32": ("vit_large_patch32_224", {}),
}
"""timm's name and options of the same network, by torchvision's name. Whoever uses one compares the outputs."""

POSITIONS = "encoder.pos_embedding"
SHORTCUT = re.compile(r"(trunk_output\.\w+\.[\w-]+)\.proj\.")
"""A shortcut of torchvision's RegNet, which comes first in its block; timm's comes last."""


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
        state = _in_order(state, twin.state_dict())
    try:
        twin.load_state_dict(state, strict=True)
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


def _in_order(state: Mapping[str, torch.Tensor], target: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return torchvision's tensors with timm's names: both register the layers in the order that an image passes them.

    Raises:
        ModelError: The layers are others.
    """
    names = _as_timm_orders(list(state))
    fits = len(names) == len(target) and all(
        state[name].numel() == tensor.numel() for name, tensor in zip(names, target.values(), strict=True)
    )
    if not fits:
        raise ModelError("its network of that name has other layers")
    # A Linear over a whole feature map is a convolution there, and a scale (C, 1, 1) is one (C).
    return {theirs: state[name].reshape(target[theirs].shape) for name, theirs in zip(names, target, strict=True)}


def _as_timm_orders(names: list[str]) -> list[str]:
    """Return torchvision's names in timm's order, where it differs."""
    if POSITIONS in names:  # A vision transformer: timm has them beside the class token.
        names.remove(POSITIONS)
        names.insert(1, POSITIONS)
    blocks = [found[1] if (found := re.match(r"(trunk_output\.\w+\.[\w-]+)\.", name)) else name for name in names]
    order = {block: number for number, block in enumerate(dict.fromkeys(blocks))}
    pairs = sorted(zip(blocks, names, strict=True), key=lambda pair: (order[pair[0]], bool(SHORTCUT.match(pair[1]))))
    return [name for _, name in pairs]
