"""The state of a stage between two steps: with it, training goes on as if it had never stopped."""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.optim import Optimizer

from tl_toolkit.errors import ModelFileError, listing
from tl_toolkit.training.loop import Position, Span, Stage

WEIGHTS, OPTIMIZER, RANDOM = "weights.", "optimizer.", "random."
TENSOR = "tensor "
"""Begins a text that stands for a tensor in `values`."""


@dataclass(frozen=True)
class StageState:
    """What a stage is between two steps.

    Attributes:
        tensors: The weights that train, the optimizer's tensors and the states of torch's generators, by name.
        values: All else, as JSON has it.
    """

    tensors: Mapping[str, torch.Tensor]
    values: Mapping[str, Any]

    @property
    def step(self) -> int:
        """Steps done in the stage."""
        return int(self.values["step"])

    def weights(self) -> dict[str, torch.Tensor]:
        """The part of the network's state_dict that trains."""
        return {name.removeprefix(WEIGHTS): value for name, value in self.tensors.items() if name.startswith(WEIGHTS)}


def trained_weights(stage: Stage) -> dict[str, torch.Tensor]:
    """The part of the network's state_dict that the stage changes."""
    inside = tuple(f"{name}." if name else "" for name in stage.trainable)
    return {name: value for name, value in stage.module.state_dict().items() if name.startswith(inside)}


def keep_state(stage: Stage, position: Position) -> StageState:
    """The state of a stage; its tensors are those that training goes on to change, so write or copy them at once."""
    tensors = {f"{WEIGHTS}{name}": value for name, value in trained_weights(stage).items()}
    optimizer = _without_tensors(stage.optimizer.state_dict(), OPTIMIZER, tensors)
    tensors[f"{RANDOM}cpu"] = torch.get_rng_state()
    for index, state in enumerate(torch.cuda.get_rng_state_all() if torch.cuda.is_available() else ()):
        tensors[f"{RANDOM}cuda{index}"] = state
    version, numbers, gauss = random.getstate()
    name, keys, *rest = np.random.get_state()  # a dataset of the user's own may draw from it
    values = {
        "step": position.step,
        "span": [*position.span.meter.state(), position.span.seconds()],
        "logged": [*position.logged.meter.state(), position.logged.seconds()],
        "optimizer": optimizer,
        "python_random": [version, list(numbers), gauss],
        "numpy_random": [name, np.asarray(keys).tolist(), *rest],
    }
    return StageState(tensors, values)


def restore_weights(module: nn.Module, state: StageState) -> None:
    """Gives a network what it had learned.

    Raises:
        ModelFileError: The weights are those of another network.
    """
    try:
        unknown = module.load_state_dict(state.weights(), strict=False).unexpected_keys
    except RuntimeError as error:
        raise ModelFileError(f"The checkpoint's weights do not fit: {error}") from error
    if unknown:
        raise ModelFileError(f"The checkpoint's weights do not fit: the network has no {listing(unknown)}.")


def restore_optimizer(optimizer: Optimizer, state: StageState) -> None:
    """Gives an optimizer of the same parameters what it had.

    Raises:
        ModelFileError: The state is that of another optimizer.
    """
    kept = _with_tensors(state.values["optimizer"], state.tensors)
    kept["state"] = {int(index): values for index, values in kept["state"].items()}  # JSON's keys are text.
    try:
        optimizer.load_state_dict(kept)
    except (ValueError, KeyError) as error:
        raise ModelFileError(f"The checkpoint's optimizer does not fit: {error}") from error
    for parameter, values in optimizer.state.items():  # Fused optimizers walk through both in one order.
        for name, value in values.items():
            if isinstance(value, torch.Tensor) and value.shape == parameter.shape:
                values[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)


def restore_position(state: StageState, device: torch.device) -> Position:
    """Where the stage was."""
    position = Position(device)
    position.step = state.step
    position.span, position.logged = (_span(state.values[name], device) for name in ("span", "logged"))
    return position


def restore_random(state: StageState) -> None:
    """Puts the generators of torch, Python and NumPy where they were; that of a GPU only where there are as many."""
    torch.set_rng_state(state.tensors[f"{RANDOM}cpu"])
    cuda = [value for name, value in state.tensors.items() if name.startswith(f"{RANDOM}cuda")]
    if torch.cuda.is_available() and len(cuda) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(cuda)
    version, numbers, gauss = state.values["python_random"]
    random.setstate((version, tuple(numbers), gauss))
    name, keys, *rest = state.values["numpy_random"]
    np.random.set_state((name, np.asarray(keys, np.uint32), *rest))


def _span(kept: list[Any], device: torch.device) -> Span:
    images, loss, right, seconds = kept
    span = Span(device, float(seconds))
    span.meter.restore(int(images), float(loss), int(right))
    return span


def _without_tensors(value: Any, name: str, tensors: dict[str, torch.Tensor]) -> Any:
    """The same as JSON has it; tensors are put into `tensors`, and text stands in their places."""
    if isinstance(value, torch.Tensor):
        tensors[name] = value
        return f"{TENSOR}{name}"
    if isinstance(value, Mapping):
        return {str(key): _without_tensors(inner, f"{name}{key}.", tensors) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_without_tensors(inner, f"{name}{index}.", tensors) for index, inner in enumerate(value)]
    return value


def _with_tensors(value: Any, tensors: Mapping[str, torch.Tensor]) -> Any:
    if isinstance(value, str) and value.startswith(TENSOR):
        return tensors[value.removeprefix(TENSOR)]
    if isinstance(value, Mapping):
        return {key: _with_tensors(inner, tensors) for key, inner in value.items()}
    if isinstance(value, list):
        return [_with_tensors(inner, tensors) for inner in value]
    return value
