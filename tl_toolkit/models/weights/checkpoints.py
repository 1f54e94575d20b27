"""What training programs put around a state_dict: checkpoints, moving averages, wrappers, and prefixes of the names."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tl_toolkit.errors import WeightsError
from tl_toolkit.models.weights.checkpoint_names import AVERAGED, COUNTER, PLAIN, PREFIXES
from tl_toolkit.text import join_names, named, plural

StateDict = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Unwrapped:
    """The weights in what torch.save wrote.

    Attributes:
        state: Names and tensors.
        network: The network that they are of; None if only its tensors were saved.
        arch: timm's name of the network in its checkpoints; empty in others.
        steps: What was taken out of what, in words.
    """

    state: StateDict
    network: nn.Module | None
    arch: str
    steps: tuple[str, ...]


def unwrap(loaded: Any, path: Path, ema: bool = False) -> Unwrapped:
    """Find the weights in what torch.save wrote.

    Args:
        loaded: The content of the file.
        path: The file, for messages.
        ema: Take the moving average of the weights instead of the weights.

    Raises:
        WeightsError: There is no state_dict in it, or no moving average.
    """
    steps: list[str] = []
    arch = loaded.get("arch") if isinstance(loaded, dict) else ""
    averaged = False
    while found := _inside(loaded, ema):
        if ema or found not in AVERAGED:
            others = [name for name in (PLAIN if ema else AVERAGED) if _holds(loaded, name)]
        else:
            others = []
        averaged = averaged or found in AVERAGED
        beside = f", not its {join_names(others)}" if others else ""
        how = f" ({named('ema', True)} takes that)" if others and not ema else ""
        steps.append(f"its {found}{beside}{how}")
        loaded = loaded[found]
    if ema and not averaged:
        keys = f": its keys are {join_names([str(key) for key in loaded])}" if isinstance(loaded, dict) else ""
        raise WeightsError(f"{path} has no moving average ({' or '.join(AVERAGED)}){keys}. Leave {named('ema')} out.")
    network = _network(loaded, steps)
    if network is not None:
        try:
            loaded = network.state_dict()
        except Exception as error:  # A damaged network may lack anything.
            raise WeightsError(f"{path} is damaged: its network has no state_dict ({error}).") from error
    if not isinstance(loaded, dict) or not loaded or not all(isinstance(v, torch.Tensor) for v in loaded.values()):
        raise WeightsError(f"{path} holds a {type(loaded).__name__}, but a state_dict (names and tensors) is needed.")
    state = _without_prefixes({str(key): value for key, value in loaded.items()}, steps)
    return Unwrapped(state, network, arch if isinstance(arch, str) else "", tuple(steps))


def _inside(loaded: Any, ema: bool) -> str | None:
    """Return the key of the weights in a checkpoint; None in what is none."""
    order = (*AVERAGED, *PLAIN) if ema else (*PLAIN, *AVERAGED)
    return next((name for name in order if _holds(loaded, name)), None)


def _holds(loaded: Any, name: str) -> bool:
    return isinstance(loaded, dict) and isinstance(loaded.get(name), dict | nn.Module)


def _network(loaded: Any, steps: list[str]) -> nn.Module | None:
    """Return a saved network, without the wrapper that only distributes its batches."""
    if isinstance(loaded, nn.DataParallel) and isinstance(getattr(loaded, "module", None), nn.Module):
        steps.append("the network inside its DataParallel")
        loaded = loaded.module
    return loaded if isinstance(loaded, nn.Module) else None


def _without_prefixes(state: StateDict, steps: list[str]) -> StateDict:
    """Return a state_dict without what every name begins with."""
    if COUNTER in state and any(key.startswith(PREFIXES) for key in state):
        state = {key: value for key, value in state.items() if key != COUNTER}
    while prefix := next((each for each in PREFIXES if all(key.startswith(each) for key in state)), None):
        state = {key.removeprefix(prefix): value for key, value in state.items()}
        steps.append(f"{prefix} removed from {plural(len(state), 'name')}")
    return state


def part_for(state: StateDict, own: Mapping[str, torch.Tensor], origin: str) -> tuple[StateDict, str]:
    """Return the tensors of a network that is a part of a larger object, such as `model.` of Lightning's modules.

    Args:
        state: Names and tensors of the file.
        own: Those of the network.
        origin: Name of the file in errors.

    Returns:
        The names and tensors without the prefix, and what was done in words; the same ones and an empty text if the
        names of the network are there as they are.

    Raises:
        WeightsError: There are several such parts.
    """
    first = next(iter(own), "")
    if first in state or not first:
        return state, ""
    ends = dict.fromkeys(key.removesuffix(first) for key in state if key.endswith(f".{first}"))
    # A block may have a layer of the same name; only a whole network has most of the names.
    prefixes = [prefix for prefix in ends if sum(f"{prefix}{key}" in state for key in own) > len(own) / 2]
    if not prefixes:
        return state, ""
    if len(prefixes) > 1:
        raise WeightsError(
            f"{origin} holds several networks with the name {first}: under {join_names(prefixes)}. Save the "
            "state_dict() of one of them, and give that."
        )
    prefix = prefixes[0]
    part = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
    left = [key for key in state if not key.startswith(prefix)]
    others = f", and {plural(len(left), 'other name')} left out: {join_names(left, 3)}" if left else ""
    return part, f"{prefix} removed from {plural(len(part), 'name')}{others}"
