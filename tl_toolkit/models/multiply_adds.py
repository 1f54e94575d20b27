"""Multiply-adds of a network's modules."""

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from tl_toolkit.input_spec import InputSpec
from tl_toolkit.models.backbones import blank_image

FLOPS_PER_MULTIPLY_ADD = 2
"""torch's counter counts both; torchinfo's own multiply-adds omit attention and all but one token of a Linear."""


def count_flops(module: nn.Module, images: torch.Tensor) -> dict[str, int]:
    """Return floating-point operations by module path, which begins with the network's class; "Global" is their sum."""
    fast_path = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # It is one fused operator, which the counter does not know.
    try:
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            module(images)
    finally:
        torch.backends.mha.set_fastpath_enabled(fast_path)
    return {path: sum(counts.values()) for path, counts in counter.get_flop_counts().items()}


def count_multiply_adds(module: nn.Module, spec: InputSpec) -> dict[str, int]:
    """Return the multiply-adds for one image by module name; "" is the whole network, which is in eval mode."""
    device = next(module.parameters()).device
    counts = count_flops(module, blank_image(spec).to(device))
    prefix = f"{type(module).__name__}."
    halves = {path.removeprefix(prefix): count // FLOPS_PER_MULTIPLY_ADD for path, count in counts.items()}
    return {**halves, "": halves["Global"]}
