"""Weights in files: reading them, and loading them into a network."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from tl_toolkit.errors import ModelFileError, WeightsError
from tl_toolkit.io.module_weights import load_weights
from tl_toolkit.io.safetensors_file import load_checked
from tl_toolkit.models.pickles.load import load_pickled, metadata_of
from tl_toolkit.models.weights.checkpoints import StateDict, unwrap
from tl_toolkit.models.weights.file_kinds import describe_other, describe_unknown, kind_of
from tl_toolkit.text import bullets, named


@dataclass(frozen=True)
class WeightFile:
    """Content of a file of weights.

    Attributes:
        state: Keys and tensors.
        metadata: Metadata that tl wrote, as in a safetensors header; empty in files of others.
        network: The network that the file holds; None if it holds tensors alone.
        arch: timm's name of the network in its checkpoints; empty in others.
        steps: What was taken out of what, in words.
    """

    state: StateDict
    metadata: dict[str, str]
    network: nn.Module | None = None
    arch: str = ""
    steps: tuple[str, ...] = ()


def read_weight_file(path: Path, trust: bool = False, ema: bool = False) -> WeightFile:
    """Read a safetensors file, or a state_dict or whole network that torch.save wrote, whatever its name.

    Args:
        path: The file.
        trust: Read it even if code in it would run.
        ema: Take the moving average of the weights that a checkpoint has beside them.

    Raises:
        WeightsError: There is no such file, it is damaged, or there is no state_dict or no moving average in it.
        UnsafeFileError: Without `trust`, reading it could run code.
    """
    if not path.is_file():
        raise WeightsError(f"There is no weights file {path}.")
    try:
        kind = kind_of(path)
        if kind not in ("safetensors", "torch"):
            if what := describe_other(path):
                problem = f"is {what} and holds no weights: give a safetensors file, or one of torch.save"
            else:
                problem = f"holds no weights: {describe_unknown(path)}"
            raise WeightsError(f"{path} {problem}.")
        if kind == "torch":
            loaded = load_pickled(path, trust)
            found = unwrap(loaded, path, ema)
            metadata = metadata_of(found.network or loaded)
            return WeightFile(found.state, metadata, found.network, found.arch, found.steps)
    except ModelFileError as error:
        raise WeightsError(str(error)) from error
    try:
        metadata, state = load_checked(path)
    except ModelFileError as error:
        raise WeightsError(f"{path} holds no weights that can be used: {error}.") from error
    if ema:
        raise WeightsError(f"{path} has one set of weights and no moving average. Leave {named('ema')} out.")
    return WeightFile(state, metadata)


def fit_state_dict(module: nn.Module, state: StateDict, head: Sequence[str], origin: str) -> str:
    """Load a state_dict; only the head may differ, and then keeps the network's own weights.

    Args:
        module: The network, changed in place.
        state: Keys and tensors; floating-point tensors are converted to the network's type.
        head: Names of modules whose keys may be missing, unexpected or of another shape.
        origin: Name of the weights in errors.

    Returns:
        The keys that differ, as text; empty if none do.

    Raises:
        WeightsError: A key outside the head differs; the message lists them side by side.
    """
    own = module.state_dict()
    matching = {key: value for key, value in state.items() if key in own and own[key].shape == value.shape}
    missing = [key for key in own if key not in state and not key.endswith("num_batches_tracked")]
    unexpected = [key for key in state if key not in own]
    reshaped = [key for key in state if key in own and key not in matching]
    shapes = [f"{key}: file {tuple(state[key].shape)}, network {tuple(own[key].shape)}" for key in reshaped]
    lists = {"missing from the file": missing, "not in the network": unexpected, "of another shape": shapes}
    details = "\n".join(f"{label}:\n{bullets(lines)}" for label, lines in lists.items() if lines)
    inside = tuple(f"{name}." for name in head)
    if outside := [key for key in (*missing, *unexpected, *reshaped) if not key.startswith(inside)]:
        raise WeightsError(
            f"{origin} does not fit this network: {len(outside)} keys differ outside the head.\n{details}"
        )
    if details:  # Keep the whole head as it is, not half of it.
        matching = {key: value for key, value in matching.items() if not key.startswith(inside)}
    load_weights(module, matching, strict=False)
    return details
