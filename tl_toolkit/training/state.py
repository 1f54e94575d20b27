"""The state of a stage between two steps, from which training resumes as if it had never stopped."""

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
from tl_toolkit.io.module_weights import load_weights
from tl_toolkit.text import join_names
from tl_toolkit.training.loop import MetricWindow, Stage, StageProgress, trained_weights

WEIGHTS, AVERAGE, OPTIMIZER, RANDOM = "weights.", "average.", "optimizer.", "random."
TENSOR = "tensor "
"""Prefix of a string in `values` that stands for a tensor."""


@dataclass(frozen=True)
class StageState:
    """The state of a stage between two steps.

    Attributes:
        tensors: The trained weights, their moving averages, the optimizer's tensors and the states of torch's
            generators, by name.
        values: Everything else, as JSON values.
    """

    tensors: Mapping[str, torch.Tensor]
    values: Mapping[str, Any]

    @classmethod
    def from_json(cls, tensors: Mapping[str, torch.Tensor], values: Mapping[str, Any]) -> Self:
        """Check a state that was read from a file, and return it.

        Raises:
            KeyError: A value or tensor is missing.
            ValueError: A value is invalid.
        """
        convert(values["step"], Count, "step")
        for name in ("span", "logged"):
            _parse_window(values[name])
        optimizer = convert(values["optimizer"], JsonObject, "optimizer")
        for group in _items(optimizer["param_groups"], "param_groups"):
            convert(group, JsonObject, "a group of the optimizer's parameters")
        for parameter, slots in convert(optimizer["state"], JsonObject, "state of the optimizer").items():
            convert(slots, JsonObject, f"state of parameter {parameter}")
        _with_tensors(optimizer, tensors)  # Raises KeyError if one is missing.
        state = cls(tensors, values)
        state._check_random()
        return state

    def _check_random(self) -> None:
        """Check the states of the generators on new generators."""
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
        """Return the trained part of the network's state_dict."""
        return self._with_prefix(WEIGHTS)

    def average(self) -> dict[str, torch.Tensor]:
        """Return the moving averages of the weights; empty if there are none."""
        return self._with_prefix(AVERAGE)

    def _with_prefix(self, prefix: str) -> dict[str, torch.Tensor]:
        return {name.removeprefix(prefix): value for name, value in self.tensors.items() if name.startswith(prefix)}


def capture_state(stage: Stage, progress: StageProgress) -> StageState:
    """Return the state of a stage; training goes on to change its tensors, so write or copy them at once."""
    weights = trained_weights(stage.module, stage.trainable)
    tensors = {f"{WEIGHTS}{name}": value for name, value in weights.items()}
    tensors |= {f"{AVERAGE}{name}": value for name, value in progress.average.items()}
    optimizer = _without_tensors(stage.optimizer.state_dict(), OPTIMIZER, tensors)
    tensors[f"{RANDOM}cpu"] = torch.get_rng_state()
    for index, state in enumerate(torch.cuda.get_rng_state_all() if torch.cuda.is_available() else ()):
        tensors[f"{RANDOM}cuda{index}"] = state
    version, numbers, gauss = random.getstate()
    name, keys, *rest = np.random.get_state()  # A user's dataset may draw from it.
    values = {
        "step": progress.step,
        "span": [*progress.since_eval.meter.state(), progress.since_eval.seconds],
        "logged": [*progress.since_log.meter.state(), progress.since_log.seconds],
        "optimizer": optimizer,
        "python_random": [version, list(numbers), gauss],
        "numpy_random": [name, np.asarray(keys).tolist(), *rest],
    }
    return StageState(tensors, values)


def restore_weights(module: nn.Module, trainable: Sequence[str], state: StageState) -> None:
    """Load the weights of a state, those of all `trainable` modules, into a network.

    Raises:
        ModelFileError: The weights are those of another network.
    """
    weights = state.weights()
    check_weights(module, weights)
    if missing := [name for name in trained_weights(module, trainable) if name not in weights]:
        raise ModelFileError(f"The checkpoint's weights do not fit: they lack {join_names(missing)}.")
    load_weights(module, weights, strict=False)


def check_weights(module: nn.Module, weights: Mapping[str, torch.Tensor]) -> None:
    """Refuse weights that are not a part of a network's state_dict.

    Raises:
        ModelFileError: The network has none of that name, or they have another shape or type.
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
    """Load the optimizer's part of a state into an optimizer of the same parameters.

    Raises:
        ModelFileError: The state is that of another optimizer.
    """
    saved = _with_tensors(state.values["optimizer"], state.tensors)
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    try:
        numbered = {int(index): values for index, values in saved["state"].items()}  # JSON's keys are strings.
        if len(numbered) < len(saved["state"]) or not all(0 <= index < len(parameters) for index in numbered):
            raise ValueError(f"it has a state for other parameters than {len(parameters)}")
        _check_groups(saved["param_groups"], optimizer, state.step)
        for index, values in numbered.items():
            _check_values(values, parameters[index], optimizer)
        optimizer.load_state_dict({**saved, "state": numbered})
    except (ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:  # Some come from the optimizer.
        raise ModelFileError(f"The checkpoint's optimizer does not fit: {error}.") from error
    for parameter, values in optimizer.state.items():  # Fused optimizers need the same strides.
        for name, value in values.items():
            if isinstance(value, torch.Tensor) and value.shape == parameter.shape:
                values[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)


def restore_progress(state: StageState, module: nn.Module, device: torch.device) -> StageProgress:
    """Return how far the stage was.

    Raises:
        ModelFileError: The averaged weights are those of another network.
    """
    progress = StageProgress(device)
    progress.step = state.step
    average = state.average()
    check_weights(module, average)
    if average and (missing := state.weights().keys() - average.keys()):
        raise ModelFileError(f"The checkpoint's weights do not fit: their averages lack {join_names(sorted(missing))}.")
    progress.average = {name: value.to(device) for name, value in average.items()}
    progress.since_eval, progress.since_log = (
        _restore_window(state.values[name], device) for name in ("span", "logged")
    )
    return progress


def restore_random(state: StageState) -> None:
    """Restore the generators of torch, Python and NumPy; those of GPUs only if there are as many GPUs."""
    torch.set_rng_state(state.tensors[f"{RANDOM}cpu"])
    cuda = [value for name, value in state.tensors.items() if name.startswith(f"{RANDOM}cuda")]
    if torch.cuda.is_available() and len(cuda) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(cuda)
    random.setstate(_python_random(state.values["python_random"]))
    np.random.set_state(_numpy_random(state.values["numpy_random"]))


def _restore_window(saved: list[Any], device: torch.device) -> MetricWindow:
    images, loss, right, seconds = _parse_window(saved)
    window = MetricWindow(device, seconds)
    window.meter.restore(images, loss, right)
    return window


def _parse_window(saved: Any) -> tuple[int, float, int, float]:
    images, loss, right, seconds = _items(saved, "the steps since the last evaluation", 4)
    counts = convert(images, Count, "images"), convert(loss, float, "loss"), convert(right, Count, "right answers")
    return (*counts, convert(seconds, Seconds, "seconds"))


def _python_random(saved: Any) -> tuple[Any, ...]:
    version, numbers, gauss = _items(saved, "python_random", 3)
    return version, tuple(numbers), None if gauss is None else convert(gauss, float, "gauss")


def _numpy_random(saved: Any) -> tuple[Any, ...]:
    name, keys, position, has_gauss, gauss = _items(saved, "numpy_random", 5)
    if convert(position, Count, "position") > len(keys):  # NumPy does not check, and would read beyond them.
        raise ValueError(f"position must be at most {len(keys)}, not {position}")
    has_gauss = convert(has_gauss, Count, "has_gauss")
    return name, np.asarray(keys, np.uint32), position, has_gauss, convert(gauss, float, "gauss")


def _items(value: Any, name: str, count: int | None = None) -> list[Any]:
    if not isinstance(value, list) or (count is not None and len(value) != count):
        raise ValueError(f"{name} must be a list{f' of {count}' if count else ''}")
    return value


def _check_groups(saved: list[dict[str, Any]], optimizer: Optimizer, step: int) -> None:
    """Refuse groups of parameters that differ from those of the new optimizer in more than the values of numbers.

    Raises:
        ValueError: They differ.
    """
    own = optimizer.state_dict()["param_groups"]
    if len(saved) != len(own):
        raise ValueError(f"it has {len(saved)} groups of parameters, not {len(own)}")
    for before, now in zip(saved, own, strict=True):
        needed = {**now, "initial_lr": 0.0} if step else now  # The schedule resumes from it.
        for name, value in needed.items():
            if name not in before or not _alike(before[name], value):
                raise ValueError(f"its {name} is not as it is here")
        if before["params"] != now["params"]:
            raise ValueError(f"a group has {len(before['params'])} parameters, not {len(now['params'])}, or others")
        for name in before.keys() - needed.keys():  # Some optimizers count their steps there.
            if not isinstance(before[name], torch.Tensor) or before[name].numel() != 1 or before[name].is_complex():
                convert(before[name], float, name)


def _alike(saved: Any, own: Any) -> bool:
    """Return whether a JSON value has the type of the optimizer's own, and lists and tensors its shape."""
    if isinstance(own, list | tuple):
        return isinstance(saved, list) and len(saved) == len(own) and all(map(_alike, saved, own))
    if isinstance(own, bool | str) or own is None:
        return type(saved) is type(own)
    if isinstance(own, torch.Tensor):
        return isinstance(saved, torch.Tensor) and saved.shape == own.shape and saved.dtype == own.dtype
    return isinstance(saved, int | float) and not isinstance(saved, bool)


def _check_values(values: Mapping[str, Any], parameter: torch.Tensor, optimizer: Optimizer) -> None:
    """Refuse an optimizer's state of a parameter that cannot be used with it.

    Raises:
        ValueError: A tensor has another shape than the parameter, or is complex.
    """
    fused = any(group.get("fused") for group in optimizer.param_groups)
    for name, value in values.items():
        if not isinstance(value, torch.Tensor):
            continue
        if value.is_complex():
            raise ValueError(f"its {name} is {value.dtype}")
        # Fused optimizers do not check shapes, and would read beyond a smaller tensor; some others store rows.
        if fused and value.shape not in (parameter.shape, torch.Size()):
            raise ValueError(f"its {name} has the shape {tuple(value.shape)}, its parameter {tuple(parameter.shape)}")


def _without_tensors(value: Any, name: str, tensors: dict[str, torch.Tensor]) -> Any:
    """Return a value in JSON's types; tensors go into `tensors`, and strings stand in their places."""
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
