"""The same network in torchvision and in timm, and its weights under the names of either."""

from collections.abc import Mapping

import torch

from tl_toolkit.errors import ModelError, UsageError
from tl_toolkit.models.backbones import Arch, Library
from tl_toolkit.models.classic import CLASSIC
from tl_toolkit.text import join_names, named

SAME_NAME = (
    *("densenet121", "densenet161", "densenet169", "densenet201", "inception_v3"),
    *("efficientnet_b0", "efficientnet_b1", "efficientnet_b2", "efficientnet_b3", "efficientnet_b4"),
    *("resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "wide_resnet50_2", "wide_resnet101_2"),
    *("resnext50_32x4d", "resnext101_32x8d", "resnext101_64x4d"),
    *("vgg11", "vgg13", "vgg16", "vgg19", "vgg11_bn", "vgg13_bn", "vgg16_bn", "vgg19_bn"),
)
TIMMS_NAMES = {
    **{name: name for name in SAME_NAME},
    "mobilenet_v2": "mobilenetv2_100",
    "vit_b_16": "vit_base_patch16_224",
    "vit_b_32": "vit_base_patch32_224",
    "vit_l_16": "vit_large_patch16_224",
}
"""timm's names by torchvision's, of networks whose outputs were seen to be the same with the same weights. Others that
look alike are not: timm's mobilenetv3 has another epsilon in BatchNorm."""

TORCHVISIONS_NAMES = {timms: name for name, timms in TIMMS_NAMES.items()} | {"resnet18_digits": "resnet18"}
"""Also of a classic network, which is torchvision's with other names of its parts."""


def counterpart(arch: Arch, library: Library) -> Arch:
    """Return a library's own network that computes the same as a network, with the same weights under its own names.

    Raises:
        UsageError: None is known.
    """
    if arch.library == library and arch.name not in CLASSIC:
        return arch
    name = arch.name.partition(".")[0]  # timm's tags name weights, not networks.
    torchvisions = name if arch.library == "torchvision" else TORCHVISIONS_NAMES.get(name, "")
    found = torchvisions if library == "torchvision" else TIMMS_NAMES.get(torchvisions, "")
    if not found or (library == "torchvision" and found not in TIMMS_NAMES):
        raise UsageError(
            f"No network of {library} is known to be the same as {arch}: leave {named('layout', library)} out, and the "
            "weights have the names that the network itself has."
        )
    if arch.options:
        raise UsageError(
            f"{named('layout', library)} is for networks as their library builds them; this {arch} has the options "
            f"{join_names(list(arch.options))}. Leave it out."
        )
    return Arch(library, found)


def renamed(state: Mapping[str, torch.Tensor], target: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return weights under the names of a network that is the same.

    Both networks compute in the same order, so each tensor takes the first name, in that order, that has its shape; a
    convolution over a whole map is a Linear over its pixels. What two networks are is for `counterpart` to say, and
    for a comparison of their outputs to confirm.

    Args:
        state: The weights.
        target: State_dict of the other network.

    Raises:
        ModelError: The shapes do not fit.
    """
    left = dict(state)
    found: dict[str, torch.Tensor] = {}
    for name, wanted in target.items():
        source = next((key for key, tensor in left.items() if _fits(tensor, wanted)), None)
        if source is None:
            raise ModelError(f"The weights have nothing of the shape {tuple(wanted.shape)} for {name}.")
        found[name] = left.pop(source).reshape(wanted.shape)
    if left:
        raise ModelError(f"The other network has no place for {join_names(list(left))}.")
    return found


def _fits(tensor: torch.Tensor, wanted: torch.Tensor) -> bool:
    if tensor.shape == wanted.shape:
        return True
    matrices = tensor.ndim > 1 and wanted.ndim > 1
    return matrices and len(tensor) == len(wanted) and tensor.numel() == wanted.numel()
