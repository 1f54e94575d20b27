"""Networks with weights and a head for your classes, for training and for loading."""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from tl_toolkit.config.choices import Head
from tl_toolkit.errors import WeightsError
from tl_toolkit.input_spec import InputSpec
from tl_toolkit.io.download import ProgressCallback
from tl_toolkit.models.backbones import Arch, adapt_first_conv, blank_image, build_backbone, resolve_arch
from tl_toolkit.models.heads import attach_head, check_head
from tl_toolkit.models.weights.resolve import InputOverrides, Pretrained, WeightsRequest, load_backbone
from tl_toolkit.text import named


@dataclass(frozen=True, kw_only=True)
class BuiltModel(Pretrained):
    """A pretrained network with its head changed for one set of classes.

    Attributes:
        arch: The network.
        head: How its head was changed.
        head_modules: Names of the modules with new weights.
    """

    arch: Arch
    head: Head
    head_modules: tuple[str, ...]


def build_network(
    arch: Arch,
    outputs: int,
    head: Head,
    weights: str,
    overrides: InputOverrides,
    progress: ProgressCallback | None = None,
    trust: bool = False,
) -> BuiltModel:
    """Build a network with pretrained weights and a new head.

    Args:
        arch: A network from `resolve_arch`.
        outputs: Number of logits: one for each class, or a single one for two.
        head: How to change the classifier.
        weights: See `WeightsRequest`.
        overrides: The part of the InputSpec that differs from that of the weights.
        progress: Receives the progress of a download.
        trust: Read a weights file even if code in it would run.

    Raises:
        WeightsError: The weights are not available.
        UnsafeFileError: Without `trust`, reading them could run code.
        ModelError: The network cannot have this head or input.
    """
    backbone = load_backbone(WeightsRequest(arch, weights, overrides, progress, trust))
    if head == "append" and not backbone.has_classifier:
        raise WeightsError(
            f"{weights} is a backbone without a classifier, and {named('head', 'append')} adds a layer after its "
            f"logits: say {named('head', 'swap')} or {named('head', 'mlp')}, or give the model that it was made of."
        )
    head_modules = attach_head(backbone.module, arch, head, outputs)
    check_head(backbone.module, arch, head, outputs, blank_image(backbone.input_spec))
    backbone.module.eval()
    return BuiltModel(**vars(backbone), arch=arch, head=head, head_modules=head_modules)


def rebuild_network(
    arch: Arch, outputs: int, head: Head, base_classes: int, spec: InputSpec
) -> tuple[nn.Module, tuple[str, ...]]:
    """Build the same network as `build_network` without weights, to load a saved model into.

    Returns:
        The network, and the names of the modules of its head.

    Raises:
        ModelError: The network cannot have this head or input.
    """
    with torch.random.fork_rng(devices=()), uninitialized():
        module = build_backbone(arch, base_classes, spec)
        adapt_first_conv(module, spec.channels)
        head_modules = attach_head(module, arch, head, outputs)
    return module, head_modules


@contextlib.contextmanager
def uninitialized() -> Iterator[None]:
    """Disable torch's functions that draw initial weights, which take seconds for VGG16.

    Unlike on the meta device, buffers and what a network computes for itself are as usual.
    """
    own = {name: getattr(nn.init, name) for name in dir(nn.init) if name.endswith("_") and not name.startswith("_")}
    try:
        for name in own:
            setattr(nn.init, name, lambda tensor, *_, **__: tensor)
        yield
    finally:
        for name, function in own.items():
            setattr(nn.init, name, function)


def build_model(
    arch: str,
    classes: int,
    *,
    head: Head = "swap",
    weights: str = "auto",
    in_channels: int | None = None,
    arch_options: Mapping[str, Any] | None = None,
    trust: bool = False,
) -> nn.Module:
    """Build a pretrained network with a head for your classes, as a plain torchvision or timm module.

    Args:
        arch: A name from `tl models`, "torchvision:NAME" or "timm:NAME".
        classes: Number of outputs of the new head.
        head: "swap" replaces the classifier, "append" adds a Linear after its logits, "mlp" replaces it by
            Linear, ReLU, Dropout, Linear.
        weights: "auto", "imagenet", "package", "bundled", "none", a file, a URL with `#sha256=`, or
            "hf-hub:ORG/NAME".
        in_channels: Number of input channels; by default that of the weights.
        arch_options: Options of the network's own, such as {"drop_path_rate": 0.1}.
        trust: Read a pickled weights file even if code in it would run.

    Returns:
        The module, in eval mode; images (N, C, H, W) become logits (N, classes).

    Raises:
        ToolkitError: The name, the weights or the combination does not exist.
    """
    overrides = InputOverrides(in_channels=in_channels)
    return build_network(resolve_arch(arch, arch_options), classes, head, weights, overrides, trust=trust).module
