"""BatchNorm, whose statistics are what fine-tuning forgets first."""

from torch import nn


def is_batch_norm(module: nn.Module) -> bool:
    """Whether a module keeps running statistics; timm's and torchvision's own kinds derive from torch's."""
    return isinstance(module, nn.modules.batchnorm._BatchNorm)


def has_batch_norm(module: nn.Module) -> bool:
    """Whether a network has any BatchNorm."""
    return any(is_batch_norm(part) for part in module.modules())
