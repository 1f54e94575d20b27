"""What a network is made of: layers, parameters, multiply-adds."""

import dataclasses
import itertools
from dataclasses import dataclass
from typing import Any

import torch
import torchinfo
from torch import nn
from torchvision.models import get_model_weights

from tl_toolkit.errors import ModelError
from tl_toolkit.input_spec import InputSpec
from tl_toolkit.models.backbones import Arch, build_backbone, default_input_spec, pretrained_classes

DEEPEST = 99


@dataclass(frozen=True, slots=True)
class Layer:
    """A module of a network.

    Attributes:
        name: Its attribute's name.
        kind: Its class.
        depth: Levels below the network.
        output: Shape of its output for one image, without the batch.
        parameters: Of it and its children.
        multiply_adds: For one image, of it and its children.
    """

    name: str
    kind: str
    depth: int
    output: tuple[int, ...]
    parameters: int
    multiply_adds: int


@dataclass(frozen=True)
class Summary:
    """A network's layers, as torchinfo counts them, and their totals."""

    arch: str
    input_spec: InputSpec
    layers: tuple[Layer, ...]
    parameters: int
    multiply_adds: int

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return dataclasses.asdict(self)


def count_parameters(arch: Arch) -> int:
    """Parameters of a network: as torchvision tells them, or counted without giving them memory."""
    if arch.library == "torchvision":
        return int(get_model_weights(arch.name).DEFAULT.meta["num_params"])
    module = build_without_memory(arch)
    return sum(parameter.numel() for parameter in module.parameters())


def build_without_memory(arch: Arch) -> nn.Module:
    """The library's network on the meta device; a few whose constructors compute with tensors are built first.

    Raises:
        ModelError: The network cannot be built.
    """
    classes, spec = pretrained_classes(arch), default_input_spec(arch)
    try:
        with torch.device("meta"):
            return build_backbone(arch, classes, spec)
    except ModelError:
        return build_backbone(arch, classes, spec).to("meta")


def summarize(arch: Arch, depth: int) -> Summary:
    """Runs one blank image through a network and lists its modules.

    Args:
        arch: The network.
        depth: Levels of modules to list.

    Raises:
        ModelError: The network cannot be built.
    """
    spec = default_input_spec(arch)
    module = build_backbone(arch, pretrained_classes(arch), spec)
    counted = torchinfo.summary(
        module, (1, spec.channels, spec.height, spec.width), depth=DEEPEST, verbose=0, mode="eval", device="cpu"
    )
    infos = counted.summary_list[1:]
    layers = tuple(
        Layer(
            name=info.var_name,
            kind=info.class_name,
            depth=info.depth - 1,
            output=tuple(info.output_size[1:]),
            parameters=info.num_params,
            multiply_adds=_inside(infos, position),
        )
        for position, info in enumerate(infos)
        if info.depth <= depth
    )
    parameters = sum(parameter.numel() for parameter in module.parameters())
    return Summary(str(arch), spec, layers, parameters, counted.total_mult_adds)


def _inside(infos: list[Any], position: int) -> int:
    """Multiply-adds of a module and all below it: torchinfo has them right for modules without children only."""
    own = infos[position]
    below = itertools.takewhile(lambda info: info.depth > own.depth, infos[position + 1 :])
    return sum(info.macs for info in (own, *below) if info.is_leaf_layer)
