"""The state of a stage between two steps: with it, training goes on as if it had never stopped."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from torch import nn
from torch.optim import Optimizer

from tl_toolkit.errors import ModelFileError
from tl_toolkit.io.json_validation import Count, JsonObject, Seconds, convert
from tl_toolkit.text import join_names
from tl_toolkit.training.loop import MetricWindow, Stage, StageProgress, trained_weights

WEIGHTS, AVERAGE, OPTIMIZER, RANDOM = "weights.", "average.", "optimizer.", "random."
TENSOR = "tensor "
"""Begins a text that stands for a tensor in `values`."""


@dataclass(frozen=True)
class StageState:
    """What a stage is between two steps.

    Attributes:
        tensors: The weights that train, their moving averages, the optimizer's tensors and the states of torch's
            generators, by name.
        values: All else, as JSON has it.
    """

    tensors: Mapping[str, torch.Tensor]
    values: Mapping[str, Any]

    @classmethod
    def from_json(cls, tensors: Mapping[str, torch.Tensor], values: Mapping[str, Any]) -> Self:
        """A state that was kept in a file.

        Raises:
            KeyError: Something is missing.
            ValueError: Something makes no sense.
        """
        convert(values["step"], Count, "step")
        for name in ("span", "logged"):
            _numbers_of_span(values[name])
        optimizer = convert(values["optimizer"], JsonObject, "optimizer")
        for group in _items(optimizer["param_groups"], "param_groups"):
            convert(group, JsonObject, "a group of the optimizer's parameters")
        for parameter, kept in convert(optimizer["state"], JsonObject, "state of the optimizer").items():
            convert(kept, JsonObject, f"state of parameter {parameter}")
        _with_tensors(optimizer, tensors)  # All that it speaks of are there.
        state = cls(tensors, values)
        state._check_random()
        return state

    def _check_random(self) -> None:
        """Tries the states of generators on others than those that all use."""
        python, numpy = self.values["python_random"], self.values["numpy_random"]
        try:
            torch.Generator().set_state(self.tensors[f"{RANDOM}cpu"])
            random.Random().setstate(_python_random(python))  # noqa: S311  # draws nothing
            np.random.RandomState().set_state(_numpy_random(numpy))
        except (TypeError, ValueError, RuntimeError, OverflowError, IndexError) as error:
            raise ValueError(f"the state of a random generator makes no sense: {error}") from error

    @property
    def step(self) -> int:
        """Steps done in the stage."""
        return int(self.values["step"])

    def weights(self) -> dict[str, torch.Tensor]:
        """The part of the network's state_dict that trains."""
        return self._named(WEIGHTS)

    def average(self) -> dict[str, torch.Tensor]:
        """Their moving averages; empty where there were none."""
        return self._named(AVERAGE)

    def _named(self, prefix: str) -> dict[str, torch.Tensor]:
        return {name.removeprefix(prefix): value for name, value in self.tensors.items() if name.startswith(prefix)}


def capture_state(stage: Stage, position: StageProgress) -> StageState:
    """The state of a stage; its tensors are those that training goes on to change, so write or copy them at once."""
    tensors = {f"{WEIGHTS}{name}": value for name, value in trained_weights(stage).items()}
    tensors |= {f"{AVERAGE}{name}": value for name, value in position.average.items()}
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


def restore_weights(module: nn.Module, trainable: Sequence[str], state: StageState) -> None:
    """Gives a network what it had learned.

    Args:
        module: The network.
        trainable: Names of its modules that train.
        state: Of the stage.

    Raises:
        ModelFileError: The weights are those of another network.
    """
    weights = state.weights()
    check_weights(module, weights)
    missing = [name for name in _part(module, trainable) if name not in weights]
    if missing:
        raise ModelFileError(f"The checkpoint's weights do not fit: they lack {join_names(missing)}.")
    module.load_state_dict(weights, strict=False)


def check_weights(module: nn.Module, weights: Mapping[str, torch.Tensor]) -> None:
    """Looks whether weights are some of a network's.

    Raises:
        ModelFileError: It has none of that name, or they have another shape or type.
    """
    own = module.state_dict()
    if unknown := [name for name in weights if name not in own]:
        raise ModelFileError(f"The checkpoint's weights do not fit: the network has no {join_names(unknown)}.")
    for name, value in weights.items():
        here = own[name]
        if (value.shape, value.dtype) != (here.shape, here.dtype):
            raise ModelFileError(
                f"The checkpoint's weights do not fit: its {name} is {value.dtype} {tuple(value.shape)}, the network's "
                f"is {here.dtype} {tuple(here.shape)}."
            )


def restore_optimizer(optimizer: Optimizer, state: StageState) -> None:
    """Gives an optimizer of the same parameters what it had.

    Raises:
        ModelFileError: The state is that of another optimizer.
    """
    kept = _with_tensors(state.values["optimizer"], state.tensors)
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    try:
        numbered = {int(index): values for index, values in kept["state"].items()}  # JSON's keys are text.
        if len(numbered) < len(kept["state"]) or not all(0 <= index < len(parameters) for index in numbered):
            raise ValueError(f"it has a state for other parameters than {len(parameters)}")
        _check_groups(kept["param_groups"], optimizer, state.step)
        for index, values in numbered.items():
            _check_values(values, parameters[index], optimizer)
        optimizer.load_state_dict({**kept, "state": numbered})
    except (ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:  # Some are of the optimizer's own.
        raise ModelFileError(f"The checkpoint's optimizer does not fit: {error}.") from error
    for parameter, values in optimizer.state.items():  # Fused optimizers walk through both in one order.
        for name, value in values.items():
            if isinstance(value, torch.Tensor) and value.shape == parameter.shape:
                values[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)


def restore_position(state: StageState, module: nn.Module, device: torch.device) -> StageProgress:
    """Where the stage was.

    Raises:
        ModelFileError: The averaged weights are those of another network.
    """
    position = StageProgress(device)
    position.step = state.step
    average = state.average()
    check_weights(module, average)
    if average and (missing := state.weights().keys() - average.keys()):
        raise ModelFileError(f"The checkpoint's weights do not fit: their averages lack {join_names(sorted(missing))}.")
    position.average = {name: value.to(device) for name, value in average.items()}
    position.span, position.logged = (_span(state.values[name], device) for name in ("span", "logged"))
    return position


def restore_random(state: StageState) -> None:
    """Puts the generators of torch, Python and NumPy where they were; that of a GPU only where there are as many."""
    torch.set_rng_state(state.tensors[f"{RANDOM}cpu"])
    cuda = [value for name, value in state.tensors.items() if name.startswith(f"{RANDOM}cuda")]
    if torch.cuda.is_available() and len(cuda) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(cuda)
    random.setstate(_python_random(state.values["python_random"]))
    np.random.set_state(_numpy_random(state.values["numpy_random"]))


def _part(module: nn.Module, trainable: Sequence[str]) -> dict[str, torch.Tensor]:
    """Of a network's state_dict, what belongs to the modules that train."""
    inside = tuple(f"{name}." if name else "" for name in trainable)
    return {name: value for name, value in module.state_dict().items() if name.startswith(inside)}


def _span(kept: list[Any], device: torch.device) -> MetricWindow:
    images, loss, right, seconds = _numbers_of_span(kept)
    span = MetricWindow(device, seconds)
    span.meter.restore(images, loss, right)
    return span


def _numbers_of_span(kept: Any) -> tuple[int, float, int, float]:
    images, loss, right, seconds = _items(kept, "the steps since the last evaluation", 4)
    counts = convert(images, Count, "images"), convert(loss, float, "loss"), convert(right, Count, "right answers")
    return (*counts, convert(seconds, Seconds, "seconds"))


def _python_random(kept: Any) -> tuple[Any, ...]:
    version, numbers, gauss = _items(kept, "python_random", 3)
    return version, tuple(numbers), None if gauss is None else convert(gauss, float, "gauss")


def _numpy_random(kept: Any) -> tuple[Any, ...]:
    name, keys, position, has_gauss, gauss = _items(kept, "numpy_random", 5)
    if convert(position, Count, "position") > len(keys):  # NumPy does not look, and would read beyond them.
        raise ValueError(f"position must be at most {len(keys)}, not {position}")
    has_gauss = convert(has_gauss, Count, "has_gauss")
    return name, np.asarray(keys, np.uint32), position, has_gauss, convert(gauss, float, "gauss")


def _items(value: Any, name: str, count: int | None = None) -> list[Any]:
    if not isinstance(value, list) or (count is not None and len(value) != count):
        raise ValueError(f"{name} must be a list{f' of {count}' if count else ''}")
    return value


def _check_groups(kept: list[dict[str, Any]], optimizer: Optimizer, step: int) -> None:
    """Looks whether an optimizer's groups are what they are in a new one, but for numbers that changed.

    Raises:
        ValueError: They are not.
    """
    own = optimizer.state_dict()["param_groups"]
    if len(kept) != len(own):
        raise ValueError(f"it has {len(kept)} groups of parameters, not {len(own)}")
    for before, now in zip(kept, own, strict=True):
        needed = {**now, "initial_lr": 0.0} if step else now  # The schedule needs it to go on.
        for name, value in needed.items():
            if name not in before or not _alike(before[name], value):
                raise ValueError(f"its {name} is not as it is here")
        if before["params"] != now["params"]:
            raise ValueError(f"a group has {len(before['params'])} parameters, not {len(now['params'])}, or others")
        for name in before.keys() - needed.keys():  # Some optimizers count their steps there.
            if not isinstance(before[name], torch.Tensor) or before[name].numel() != 1 or before[name].is_complex():
                convert(before[name], float, name)


def _alike(kept: Any, own: Any) -> bool:
    """Whether JSON's value can stand for one: numbers for numbers, lists for as long ones, the rest for its like."""
    if isinstance(own, list | tuple):
        return (
            isinstance(kept, list)
            and len(kept) == len(own)
            and all(_alike(one, other) for one, other in zip(kept, own, strict=True))
        )
    if isinstance(own, bool | str) or own is None:
        return type(kept) is type(own)
    if isinstance(own, torch.Tensor):
        return isinstance(kept, torch.Tensor) and kept.shape == own.shape and kept.dtype == own.dtype
    return isinstance(kept, int | float) and not isinstance(kept, bool)


def _check_values(values: Mapping[str, Any], parameter: torch.Tensor, optimizer: Optimizer) -> None:
    """Looks whether an optimizer's state of a parameter can be used with it.

    Raises:
        ValueError: It cannot.
    """
    fused = any(group.get("fused") for group in optimizer.param_groups)
    for name, value in values.items():
        if not isinstance(value, torch.Tensor):
            continue
        if value.is_complex():
            raise ValueError(f"its {name} is {value.dtype}")
        # Fused optimizers do not look at shapes, and would read beyond a smaller tensor; some others keep rows.
        if fused and value.shape not in (parameter.shape, torch.Size()):
            raise ValueError(f"its {name} has the shape {tuple(value.shape)}, its parameter {tuple(parameter.shape)}")


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
