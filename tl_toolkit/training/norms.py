"""BatchNorm, whose statistics are what fine-tuning forgets first."""

from torch import nn


def is_batch_norm(module: nn.Module) -> bool:
    """Whether a module keeps running statistics; timm's and torchvision's own kinds derive from torch's."""
    return isinstance(module, nn.modules.batchnorm._BatchNorm)


def has_batch_norm(module: nn.Module) -> bool:
    """Whether a network has any BatchNorm."""
    return any(is_batch_norm(part) for part in module.modules())


def has_depthwise_convolution(module: nn.Module) -> bool:
    """Whether a network has convolutions of single channels, as mobile networks do."""
    return any(
        isinstance(part, nn.Conv2d) and part.groups == part.in_channels and part.groups > 1 for part in module.modules()
    )
