"""What a network is made of: layers, parameters, multiply-adds, memory."""

import dataclasses
from dataclasses import dataclass
from typing import Any

import torch
import torchinfo
from torch import nn

from tl_toolkit.errors import ModelError
from tl_toolkit.input_spec import InputSpec
from tl_toolkit.models.backbones import (
    Arch,
    adapt_first_conv,
    blank_image,
    build_backbone,
    check_input,
    default_input_spec,
    pretrained_classes,
)
from tl_toolkit.models.multiply_adds import FLOPS_PER_MULTIPLY_ADD, count_flops
from tl_toolkit.system.libraries import torchvision

"""torch's counter counts both. torchinfo's own multiply-adds leave out attention and all but one token of a Linear."""


@dataclass(frozen=True, slots=True)
class Layer:
    """A module of a network.

    Attributes:
        name: Its attribute's name.
        kind: Its class.
        depth: Levels below the network.
        output: Shape of its output for one image, without the batch.
        parameters: Of it and its children.
        multiply_adds: For one image, of it and its children: of convolutions and matrix products.
    """

    name: str
    kind: str
    depth: int
    output: tuple[int, ...]
    parameters: int
    multiply_adds: int


@dataclass(frozen=True)
class Summary:
    """A network's layers, as torchinfo lists them, and their totals.

    Attributes:
        arch: Its name with the library before it.
        classes: Outputs of its classifier.
        input_spec: The image that was run through it.
        layers: Its modules, outer before inner.
        parameters: Of all.
        multiply_adds: For one image: of convolutions and matrix products.
        input_bytes: Of one image in float32.
        activation_bytes: Of all outputs of one forward and backward pass over it, as torchinfo estimates them.
        parameter_bytes: Of the parameters in float32.
    """

    arch: str
    classes: int
    input_spec: InputSpec
    layers: tuple[Layer, ...]
    parameters: int
    multiply_adds: int
    input_bytes: int
    activation_bytes: int
    parameter_bytes: int

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return dataclasses.asdict(self)


def count_parameters(arch: Arch) -> int:
    """Parameters of a network: as torchvision tells them, or counted without giving them memory."""
    if arch.library == "torchvision":
        return int(torchvision.models.get_model_weights(arch.name).DEFAULT.meta["num_params"])
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


def summarize(
    arch: Arch, depth: int, input_size: tuple[int, int, int] | None = None, classes: int | None = None
) -> Summary:
    """Runs one blank image through a network and lists its modules.

    Args:
        arch: The network.
        depth: Levels of modules to list.
        input_size: Channels, height and width of the image; by default the network's own.
        classes: Outputs of its classifier; by default those of its pretrained weights.

    Raises:
        ModelError: The network cannot be built, or does not take such an image.
    """
    spec = default_input_spec(arch)
    if input_size:
        channels, height, width = input_size
        spec = dataclasses.replace(spec.with_channels(channels), height=height, width=width)
    classes = classes or pretrained_classes(arch)
    module = build_backbone(arch, classes, spec).eval()
    adapt_first_conv(module, spec.channels)
    check_input(module, arch, spec)
    blank = blank_image(spec)
    listed = torchinfo.summary(module, input_data=blank, depth=depth, verbose=0, mode="eval", device="cpu")
    infos = listed.summary_list
    flops = count_flops(module, blank)
    layers: list[Layer] = []
    path = [type(module).__name__]
    for info in infos[1:]:
        path[info.depth :] = [info.var_name]
        if info.depth > depth:
            continue
        layers.append(
            Layer(
                name=info.var_name,
                kind=info.class_name,
                depth=info.depth - 1,
                output=tuple(info.output_size[1:]),
                parameters=info.num_params,
                multiply_adds=flops.get(".".join(path), 0) // FLOPS_PER_MULTIPLY_ADD,
            )
        )
    parameters = sum(parameter.numel() for parameter in module.parameters())
    return Summary(
        arch=str(arch),
        classes=classes,
        input_spec=spec,
        layers=tuple(layers),
        parameters=parameters,
        multiply_adds=flops["Global"] // FLOPS_PER_MULTIPLY_ADD,
        input_bytes=listed.total_input,
        activation_bytes=listed.total_output_bytes,
        parameter_bytes=listed.total_param_bytes,
    )
