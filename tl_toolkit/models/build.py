"""From names to a network with the right head: the one way in for training and for loading."""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from tl_toolkit.config.choices import Head
from tl_toolkit.input_spec import InputSpec
from tl_toolkit.io.download import ProgressCallback
from tl_toolkit.models.backbones import Arch, adapt_first_conv, blank_image, build_backbone, resolve_arch
from tl_toolkit.models.heads import attach_head, check_head
from tl_toolkit.models.weights.resolve import InputOverrides, Pretrained, WeightsRequest, load_backbone


@dataclass(frozen=True)
class BuiltModel:
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
        license: Their licence; empty where it is unknown.
        warnings: What the user must know about them.
        fallback: Why better ones could not be had; empty where these are the best.
    """

    module: nn.Module
    arch: Arch
    head: Head
    base_classes: int
    input_spec: InputSpec
    head_modules: tuple[str, ...]
    weights: str
    origin: str
    license: str = ""
    warnings: tuple[str, ...] = ()
    fallback: str = ""


def build_network(
    arch: Arch,
    outputs: int,
    head: Head,
    weights: str,
    overrides: InputOverrides,
    progress: ProgressCallback | None = None,
    trust: bool = False,
) -> BuiltModel:
    """Builds a network with pretrained weights and a new head.

    Args:
        arch: From `resolve_arch`.
        outputs: Logits: one for each class, or a single one for two.
        head: How the classifier is changed.
        weights: See `WeightsRequest`.
        overrides: What of the InputSpec is not as the weights have it.
        progress: Told of a download's progress.
        trust: Read a weights file even where code that is in it would run.

    Raises:
        WeightsError: The weights cannot be had.
        UnsafeFileError: Without `trust`, reading them could run code.
        ModelError: The network cannot be changed as asked.
    """
    backbone: Pretrained = load_backbone(WeightsRequest(arch, weights, overrides, progress, trust))
    head_modules = attach_head(backbone.module, arch, head, outputs)
    check_head(backbone.module, arch, head, outputs, blank_image(backbone.input_spec))
    return BuiltModel(
        backbone.module.eval(),
        arch,
        head,
        backbone.base_classes,
        backbone.input_spec,
        head_modules,
        backbone.choice,
        backbone.origin,
        backbone.license,
        tuple(backbone.warnings),
        backbone.fallback,
    )


def rebuild_network(arch: Arch, outputs: int, head: Head, base_classes: int, spec: InputSpec) -> nn.Module:
    """Builds the same network as `build_network` without looking for weights, to load a saved model into.

    Raises:
        ModelError: The network cannot be changed as asked.
    """
    with torch.random.fork_rng(devices=()), _uninitialized():
        module = build_backbone(arch, base_classes, spec)
        adapt_first_conv(module, spec.channels)
        attach_head(module, arch, head, outputs)
    return module


@contextlib.contextmanager
def _uninitialized() -> Iterator[None]:
    """Within the block, torch's functions that draw initial weights do nothing: VGG16's take seconds.

    Buffers and what a network computes for itself stay as they are, unlike on the meta device.
    """
    drawing = [name for name in dir(nn.init) if name.endswith("_") and not name.startswith("_")]
    own = {name: getattr(nn.init, name) for name in drawing}
    try:
        for name in drawing:
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
    """Builds a pretrained network with a head for your classes, as a plain torchvision or timm module.

    Args:
        arch: A name from `tl models`, "torchvision:NAME" or "timm:NAME".
        classes: Outputs of the new head.
        head: "swap" replaces the classifier, "append" adds a Linear after its logits, "mlp" replaces it by
            Linear, ReLU, Dropout, Linear.
        weights: "auto", "imagenet", "package", "bundled", "none", a file, a URL with `#sha256=`, or
            "hf-hub:ORG/NAME".
        in_channels: Input channels; by default those of the weights.
        arch_options: Options of the network's own, such as {"drop_path_rate": 0.1}.
        trust: Read a pickled weights file even where code that is in it would run.

    Returns:
        The module, in eval mode; images (N, C, H, W) become logits (N, classes).

    Raises:
        ToolkitError: The name, the weights or the combination does not exist.
    """
    resolved = resolve_arch(arch, arch_options)
    overrides = InputOverrides(in_channels=in_channels)
    return build_network(resolved, classes, head, weights, overrides, trust=trust).module
