"""Kinds of layers that training treats differently."""

from torch import nn


def is_batch_norm(module: nn.Module) -> bool:
    """Return whether a module has running statistics; timm's and torchvision's own kinds derive from torch's."""
    return isinstance(module, nn.modules.batchnorm._BatchNorm)


def has_batch_norm(module: nn.Module) -> bool:
    """Return whether a network has any BatchNorm."""
    return any(is_batch_norm(part) for part in module.modules())


def has_depthwise_convolution(module: nn.Module, strided: bool = False) -> bool:
    """Return whether a network has convolutions of single channels, as MobileNet and EfficientNet have.

    Args:
        module: The network.
        strided: Count only convolutions with a stride.
    """
    return any(
        isinstance(part, nn.Conv2d) and part.groups == part.in_channels > 1 and (max(part.stride) > 1 or not strided)
        for part in module.modules()
    )
