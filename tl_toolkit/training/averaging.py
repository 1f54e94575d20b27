"""A moving average of weights while they train."""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import nn

from tl_toolkit.io.module_weights import load_weights


@dataclass(frozen=True, slots=True)
class Averaging:
    """How far back a moving average of weights reaches.

    A step's decay is min(decay, (1 + step) / (growth + step)), as in TensorFlow's `ExponentialMovingAverage`, so that
    a short training does not average over its beginning. As long as the decay grows, the weights of a step count as
    its number to the power of growth - 2 (polynomial-decay averaging; Shamir and Zhang 2013): about the last
    `1 / (growth - 1)` of all steps.

    Attributes:
        decay: Largest share of the old average in the new one, below 1.
        growth: The larger, the fewer steps the average has at first; 10 in TensorFlow.
    """

    decay: float
    growth: float = 10.0

    def at(self, step: int) -> float:
        """Return the share of the old average in the new one at a step, counted from 1."""
        return min(self.decay, (1 + step) / (self.growth + step))


@torch.no_grad()
def update_average(
    average: dict[str, torch.Tensor], weights: Mapping[str, torch.Tensor], averaging: Averaging, step: int
) -> None:
    """Move a moving average towards the weights of a step.

    Args:
        average: The average by name; changed in place, and filled by the first step. Integers are copied.
        weights: A state_dict, or a part of one.
        averaging: How far back the average reaches.
        step: The step of the stage, from 1.
    """
    if not average:
        average.update({name: value.clone() for name, value in weights.items()})
        return
    share = 1 - averaging.at(step)
    floating = [name for name, value in weights.items() if value.is_floating_point()]
    torch._foreach_lerp_([average[name] for name in floating], [weights[name] for name in floating], share)
    for name in weights.keys() - floating:
        average[name].copy_(weights[name])


@contextlib.contextmanager
def averaged(module: nn.Module, average: Mapping[str, torch.Tensor]) -> Iterator[None]:
    """Within the block, a network has the averaged weights; an empty average changes nothing."""
    own = module.state_dict()
    trained = {name: own[name].clone() for name in average}
    load_weights(module, average, strict=False)
    try:
        yield
    finally:
        load_weights(module, trained, strict=False)
