"""The head that weights of another program have, by the names and shapes of their tensors."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from tl_toolkit.config.choices import Head
from tl_toolkit.errors import WeightsError
from tl_toolkit.models.backbones import Arch
from tl_toolkit.models.heads import APPENDED, classifier_paths
from tl_toolkit.models.weights.checkpoints import StateDict
from tl_toolkit.text import join_names, named

NUMBERED = re.compile(r"\.(\d+)\.weight")


@dataclass(frozen=True)
class FoundHead:
    """What stands in the place of a network's classifier.

    Attributes:
        head: How the classifier was changed: "swap" also stands for one that was not.
        outputs: Number of logits.
        base_classes: Outputs of the classifier before the change.
        layer: Name of the layer that gives the logits, in the file.
        state: The tensors, with the names that the network has.
        warning: What the tensors alone do not tell; empty if they do.
    """

    head: Head
    outputs: int
    base_classes: int
    layer: str
    state: StateDict
    warning: str = ""


def find_head(state: StateDict, network: nn.Module, arch: Arch, origin: str) -> FoundHead:
    """Find the head in the tensors of a file: its kind, and its number of outputs.

    Args:
        state: Names and tensors of the file.
        network: The library's own network; it may be on the meta device.
        arch: Its name.
        origin: Name of the file in errors.

    Raises:
        WeightsError: The file has no classifier where the network has it, or one that tl cannot build.
    """
    paths = classifier_paths(network, arch)
    path = paths[0]
    parent = path.rpartition(".")[0]
    whole = state.get(f"{path}.weight")
    if whole is not None:
        outputs = base = whole.shape[0]
        added = state.get(f"{parent}.{APPENDED}.weight") if parent else None
        if added is None:
            return FoundHead("swap", outputs, outputs, path, state)
        return FoundHead("append", added.shape[0], base, f"{parent}.{APPENDED}", state)
    linears = _numbered_linears(state, path)
    if linears == [0, 1] and len(paths) == 1:
        first, second = (state[f"{path}.{number}.weight"].shape for number in linears)
        if second[1] == first[0]:
            return FoundHead("append", second[0], first[0], f"{path}.1", state)
    if linears == [0, 3] and len(paths) == 1:
        warning = (
            f"{path} is taken for Linear, ReLU, Dropout, Linear, as the mlp head is: the tensors do not say what is "
            "between its two layers"
        )
        outputs = state[f"{path}.3.weight"].shape[0]
        return FoundHead("mlp", outputs, outputs, f"{path}.3", state, warning)
    if len(linears) == 1 and len(paths) == 1:
        return _lone_linear(state, path, linears[0])
    raise WeightsError(_no_head(path, linears, origin, list(state)))


def _numbered_linears(state: StateDict, path: str) -> list[int]:
    """Return the places of Linear layers in a Sequential that stands in the place of a classifier."""
    found = [
        int(place[1])
        for key, tensor in state.items()
        if (place := NUMBERED.fullmatch(key.removeprefix(path))) and key.startswith(path) and tensor.ndim == 2
    ]
    return sorted(found)


def _lone_linear(state: StateDict, path: str, place: int) -> FoundHead:
    """Return the head of a Sequential with a single Linear, such as Dropout and Linear, as a plain classifier."""
    inside = f"{path}.{place}."
    renamed = {f"{path}.{key.removeprefix(inside)}" if key.startswith(inside) else key: v for key, v in state.items()}
    outputs = state[f"{inside}weight"].shape[0]
    warning = (
        f"{inside[:-1]} is taken for the classifier {path}: layers before it in its Sequential, such as Dropout, have "
        "no tensors, and are taken to change nothing in prediction"
    )
    return FoundHead("swap", outputs, outputs, inside[:-1], renamed, warning)


def _no_head(path: str, linears: Sequence[int], origin: str, names: Sequence[str]) -> str:
    """Return why a file has no head that tl can build, and what to do with it."""
    if linears:
        layers = join_names([f"{path}.{place}" for place in linears])
        found = (
            f"{origin} has a head of other layers than tl builds: {layers} in the place of {path}. tl builds one "
            "Linear, one after the original classifier, or Linear-ReLU-Dropout-Linear"
        )
    else:
        found = f"{origin} has no classifier: no {path}.weight; its last tensors are {join_names(names[-2:])}"
    start = named("weights", "FILE")
    return f"{found}. It can be the start of a fine-tune, which gives it a head for your classes: {start}."
