"""From names to a network with the right head: the one way in for training and for loading."""

from dataclasses import dataclass

import torch
from torch import nn

from tl_toolkit.config import Head
from tl_toolkit.input_spec import InputSpec
from tl_toolkit.models.backbones import Arch, adapt_first_conv, blank_image, build_backbone, resolve_arch
from tl_toolkit.models.download import Progress
from tl_toolkit.models.heads import attach_head, check_head
from tl_toolkit.models.weights import Overrides, Pretrained, Request, load_backbone


@dataclass(frozen=True)
class Network:
    """A network for one set of classes.

    Attributes:
        module: The library's own object, with its head changed.
        arch: What it is.
        head: How its head was changed.
        base_classes: Outputs of the classifier before that.
        input_spec: The pixels it expects.
        head_modules: Names of the modules with new weights.
        weights: What "auto" came to; else as it was asked for.
        origin: Where the pretrained weights come from.
        warnings: What the user must know about them.
    """

    module: nn.Module
    arch: Arch
    head: Head
    base_classes: int
    input_spec: InputSpec
    head_modules: tuple[str, ...]
    weights: str
    origin: str
    warnings: tuple[str, ...] = ()


def build_network(
    arch: str, classes: int, head: Head, weights: str, overrides: Overrides, progress: Progress | None = None
) -> Network:
    """Builds a network with pretrained weights and a new head.

    Raises:
        UsageError: No network has that name.
        WeightsError: The weights cannot be had.
        ModelError: The network cannot be changed as asked.
    """
    resolved = resolve_arch(arch)
    backbone: Pretrained = load_backbone(Request(resolved, weights, overrides, progress))
    head_modules = attach_head(backbone.module, resolved, head, classes)
    check_head(backbone.module, resolved, head, classes, blank_image(backbone.input_spec))
    return Network(
        backbone.module.eval(),
        resolved,
        head,
        backbone.base_classes,
        backbone.input_spec,
        head_modules,
        backbone.choice,
        backbone.origin,
        tuple(backbone.warnings),
    )


def rebuild_network(arch: str, classes: int, head: Head, base_classes: int, spec: InputSpec) -> nn.Module:
    """Builds the same network as `build_network` without looking for weights, to load a saved model into.

    Raises:
        UsageError: No network has that name.
        ModelError: The network cannot be changed as asked.
    """
    resolved = resolve_arch(arch)
    with torch.random.fork_rng(devices=()):
        module = build_backbone(resolved, base_classes, spec)
        adapt_first_conv(module, spec.channels)
        attach_head(module, resolved, head, classes)
    return module


def build_model(
    arch: str, classes: int, *, head: Head = "swap", weights: str = "auto", in_channels: int | None = None
) -> nn.Module:
    """Builds a pretrained network with a head for your classes, as a plain torchvision or timm module.

    Args:
        arch: A name from `tl models`, "torchvision:NAME" or "timm:NAME".
        classes: Outputs of the new head.
        head: "swap" replaces the classifier, "append" adds a Linear after its logits, "mlp" replaces it by
            Linear, ReLU, Dropout, Linear.
        weights: "auto", "imagenet", "bundled", "none", a file, a URL with `#sha256=`, or "hf-hub:ORG/NAME".
        in_channels: Input channels; by default those of the weights.

    Returns:
        The module, in eval mode; images (N, C, H, W) become logits (N, classes).

    Raises:
        ToolkitError: The name, the weights or the combination does not exist.
    """
    return build_network(arch, classes, head, weights, Overrides(in_channels=in_channels)).module
