"""Multiply-adds of a network's modules."""

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from tl_toolkit.input_spec import InputSpec
from tl_toolkit.models.backbones import blank_image

FLOPS_PER_MULTIPLY_ADD = 2


def count_flops(module: nn.Module, images: torch.Tensor) -> dict[str, int]:
    """Floating-point operations by the path of a module, which begins with its class, and of all under "Global"."""
    fast_path = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # One fused operator, which the counter does not know.
    try:
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            module(images)
    finally:
        torch.backends.mha.set_fastpath_enabled(fast_path)
    return {path: sum(counts.values()) for path, counts in counter.get_flop_counts().items()}


def count_multiply_adds(module: nn.Module, spec: InputSpec) -> dict[str, int]:
    """Multiply-adds of each module for one image, by its name; "" is the whole network.

    Args:
        module: In eval mode.
        spec: The size of the image.
    """
    device = next(module.parameters()).device
    counts = count_flops(module, blank_image(spec).to(device))
    own = type(module).__name__
    named = {path.removeprefix(f"{own}."): count // FLOPS_PER_MULTIPLY_ADD for path, count in counts.items()}
    return {**named, "": counts["Global"] // FLOPS_PER_MULTIPLY_ADD}
