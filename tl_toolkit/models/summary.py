"""Summary of a network: layers, parameters, multiply-adds, memory."""

import dataclasses
from dataclasses import dataclass

import torchinfo

from tl_toolkit.input_spec import InputSpec
from tl_toolkit.models.backbones import (
    Arch,
    adapt_first_conv,
    blank_image,
    build_backbone,
    build_without_memory,
    check_input,
    default_input_spec,
    pretrained_classes,
)
from tl_toolkit.models.multiply_adds import FLOPS_PER_MULTIPLY_ADD, count_flops
from tl_toolkit.system.libraries import torchvision


@dataclass(frozen=True, slots=True)
class Layer:
    """A module of a network.

    Attributes:
        name: Name of its attribute.
        kind: Name of its class.
        depth: Levels below the network.
        output: Shape of its output, without the batch.
        parameters: Number of parameters, with its children's.
        multiply_adds: Multiply-adds of convolutions and matrix products for one image, with its children's.
    """

    name: str
    kind: str
    depth: int
    output: tuple[int, ...]
    parameters: int
    multiply_adds: int


@dataclass(frozen=True)
class Summary:
    """Layers of a network, as torchinfo lists them, and their totals for one image in float32.

    Attributes:
        arch: Library and name.
        classes: Outputs of the classifier.
        input_spec: The image.
        layers: The modules, outer before inner.
        parameters: Number of parameters.
        multiply_adds: Multiply-adds of convolutions and matrix products.
        input_bytes: Size of the image.
        activation_bytes: Size of all outputs of one forward and backward pass, as torchinfo estimates it.
        parameter_bytes: Size of the parameters.
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


def count_parameters(arch: Arch) -> int:
    """Return the number of parameters, as torchvision states it or counted without memory for them."""
    if arch.library == "torchvision":
        return int(torchvision.models.get_model_weights(arch.name).DEFAULT.meta["num_params"])
    return sum(parameter.numel() for parameter in build_without_memory(arch).parameters())


def summarize(
    arch: Arch, depth: int, input_size: tuple[int, int, int] | None = None, classes: int | None = None
) -> Summary:
    """Run one blank image through a network and list its modules.

    Args:
        arch: The network.
        depth: Levels of modules to list.
        input_size: Channels, height and width of the image; by default the network's own.
        classes: Outputs of the classifier; by default those of the pretrained weights.

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
    flops = count_flops(module, blank)
    layers: list[Layer] = []
    path = [type(module).__name__]
    for info in listed.summary_list[1:]:
        path[info.depth :] = [info.var_name]
        if info.depth <= depth:
            multiply_adds = flops.get(".".join(path), 0) // FLOPS_PER_MULTIPLY_ADD
            output = tuple(info.output_size[1:])
            layers.append(Layer(info.var_name, info.class_name, info.depth - 1, output, info.num_params, multiply_adds))
    return Summary(
        arch=str(arch),
        classes=classes,
        input_spec=spec,
        layers=tuple(layers),
        parameters=sum(parameter.numel() for parameter in module.parameters()),
        multiply_adds=flops["Global"] // FLOPS_PER_MULTIPLY_ADD,
        input_bytes=listed.total_input,
        activation_bytes=listed.total_output_bytes,
        parameter_bytes=listed.total_param_bytes,
    )
