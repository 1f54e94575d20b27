"""An exponential moving average of weights while they train."""

import contextlib
from collections.abc import Iterator, Mapping

import torch
from torch import nn

from tl_toolkit.io.module_weights import load_weights


@torch.no_grad()
def update_average(
    average: dict[str, torch.Tensor], weights: Mapping[str, torch.Tensor], decay: float, step: int
) -> None:
    """Move an exponential moving average towards the weights of a step.

    The decay grows from 3/12, at the second step, to its full value, so that a short training does not average over its
    beginning (TensorFlow's `ExponentialMovingAverage`: min(decay, (1 + step) / (10 + step))).

    Args:
        average: The average by name; changed in place, and filled by the first step. Integers are copied.
        weights: A state_dict, or a part of one.
        decay: Share of the old average in the new one, below 1.
        step: The step of the stage, from 1.
    """
    if not average:
        average.update({name: value.clone() for name, value in weights.items()})
        return
    share = 1 - min(decay, (1 + step) / (10 + step))
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
