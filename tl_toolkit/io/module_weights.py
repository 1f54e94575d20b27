"""Loading tensors into a network."""

from collections import OrderedDict
from collections.abc import Mapping

import torch
from torch import nn

VERSIONS = "_metadata"
"""Attribute of a state_dict with the version of each module; neither files of safetensors nor selections have it."""


def load_weights(module: nn.Module, weights: Mapping[str, torch.Tensor], strict: bool = True) -> None:
    """Load tensors into a network, as those of its own version where they have none: MNASNet of torchvision asks.

    Args:
        module: The network.
        weights: Tensors by name.
        strict: Whether they must be all that the network has, and nothing else.

    Raises:
        RuntimeError: They do not fit.
    """
    state = OrderedDict(weights)
    setattr(state, VERSIONS, getattr(weights, VERSIONS, None) or getattr(module.state_dict(), VERSIONS))
    module.load_state_dict(state, strict=strict)
