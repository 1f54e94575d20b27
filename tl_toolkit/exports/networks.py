"""Networks as other programs build them, and weights in another type."""

from collections.abc import Mapping

import torch

from tl_toolkit.exports.base import Dtype, Layout
from tl_toolkit.model_file import ModelMetadata
from tl_toolkit.models.backbones import resolve_arch
from tl_toolkit.models.layouts import counterpart, with_versions
from tl_toolkit.models.plain_code import PlainNetwork

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
ASKS_FOR_VERSION = "mnasnet"
"""Part of the names of torchvision's networks that refuse tensors without their version, as safetensors has them."""


def plain_network(metadata: ModelMetadata, layout: Layout = "own") -> PlainNetwork:
    """Return the network of a model as plain code builds it.

    Args:
        metadata: Of the model.
        layout: Whose network it is to be.

    Raises:
        UsageError: That library has no such network.
    """
    arch = resolve_arch(metadata.architecture, metadata.arch_options)
    return PlainNetwork(
        arch if layout == "own" else counterpart(arch, layout),
        metadata.head,  # type: ignore[arg-type]  # of a model that was loaded
        metadata.base_classes,
        metadata.outputs,
        metadata.input_spec,
    )


def cast(state: Mapping[str, torch.Tensor], dtype: Dtype) -> dict[str, torch.Tensor]:
    """Return a state_dict with its floating-point tensors in another type."""
    wanted = DTYPES[dtype]
    found = {name: tensor.to(wanted) if tensor.is_floating_point() else tensor for name, tensor in state.items()}
    return with_versions(found, state)


def safetensors_code(network: PlainNetwork, name: str, strict: bool = True) -> list[str]:
    """Return lines of Python that load a safetensors file into a network.

    Args:
        network: The network.
        name: Name of the file.
        strict: Whether the file has all weights.
    """
    after = "" if strict else ", strict=False"
    imports, weights = ["from safetensors.torch import load_file"], [f'weights = load_file("{name}")']
    if ASKS_FOR_VERSION in network.arch.name:
        imports.insert(0, "from collections import OrderedDict")
        weights = [f'weights = OrderedDict(load_file("{name}"))', "weights._metadata = model.state_dict()._metadata"]
    return [*imports, *network.code(), *weights, f"model.load_state_dict(weights{after})", "model.eval()"]
