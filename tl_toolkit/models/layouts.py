"""The same network in torchvision and in timm, and its weights under the names of either."""

import re
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import torch

from tl_toolkit.errors import ModelError, UsageError
from tl_toolkit.io.module_weights import VERSIONS
from tl_toolkit.models.backbones import Arch, Library
from tl_toolkit.models.classic import CLASSIC
from tl_toolkit.text import join_names, named

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

TORCHVISIONS_NAMES = {timms: name for name, (timms, options) in TWINS.items() if not options} | {
    "resnet18_digits": "resnet18"
}
"""torchvision's names by timm's, also of a classic network, which is torchvision's with other names of its parts."""


def counterpart(arch: Arch, library: Library) -> Arch:
    """Return a library's own network that computes the same as a network, with the same weights under its own names.

    Raises:
        UsageError: None is known.
    """
    if arch.library == library and arch.name not in CLASSIC:
        return arch
    name = arch.name.partition(".")[0]  # timm's tags name weights, not networks.
    torchvisions = name if arch.library == "torchvision" else TORCHVISIONS_NAMES.get(name, "")
    found, options = (torchvisions, {}) if library == "torchvision" else TWINS.get(torchvisions, ("", {}))
    if torchvisions not in TWINS:
        raise UsageError(
            f"No network of {library} is known to be the same as {arch}: leave {named('layout', library)} out, and the "
            "weights have the names that the network itself has."
        )
    if arch.options:
        raise UsageError(
            f"{named('layout', library)} is for networks as their library builds them; this {arch} has the options "
            f"{join_names(list(arch.options))}. Leave it out."
        )
    return Arch(library, found, options)


def renamed(state: Mapping[str, torch.Tensor], target: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return weights under the names of a network that is the same.

    Both register their layers in the order that an image passes them. What two networks are is for `counterpart` to
    say, and for a comparison of their outputs to confirm.

    Args:
        state: The weights.
        target: State_dict of the other network.

    Raises:
        ModelError: The layers are others; the message is the reason, as the end of a sentence.
    """
    pairs = dict(zip(_in_timms_order(target), _in_timms_order(state), strict=False))
    if len(state) != len(target) or any(state[name].numel() != target[to].numel() for to, name in pairs.items()):
        raise ModelError("its network of that name has other layers")
    # A Linear over a whole feature map is a convolution there, and a scale (C, 1, 1) is one (C).
    found = {to: state[pairs[to]].reshape(tensor.shape) for to, tensor in target.items()}
    return with_versions(found, target)


def with_versions(state: Mapping[str, torch.Tensor], source: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return a state_dict with the versions of modules that another has: torchvision's MNASNet asks for its own."""
    found = OrderedDict(state)
    if hasattr(source, VERSIONS):
        setattr(found, VERSIONS, getattr(source, VERSIONS))
    return found


def _in_timms_order(state: Mapping[str, torch.Tensor]) -> list[str]:
    """Return the names of weights in timm's order, where torchvision's differs."""
    names = list(state)
    if POSITIONS in names:  # A vision transformer: timm has them beside the class token.
        names.remove(POSITIONS)
        names.insert(1, POSITIONS)
    blocks = [found[1] if (found := re.match(r"(trunk_output\.\w+\.[\w-]+)\.", name)) else name for name in names]
    order = {block: number for number, block in enumerate(dict.fromkeys(blocks))}
    pairs = sorted(zip(blocks, names, strict=True), key=lambda pair: (order[pair[0]], bool(SHORTCUT.match(pair[1]))))
    return [name for _, name in pairs]
