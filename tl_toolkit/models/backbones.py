"""Backbones: plain torchvision and timm networks by name."""

import dataclasses
import fnmatch
import functools
import inspect
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import nn

from tl_toolkit.errors import ModelError, ToolkitError, UnknownNameError, UsageError
from tl_toolkit.input_spec import InputSpec
from tl_toolkit.models.classic import CLASSIC, ClassicNetwork
from tl_toolkit.system.libraries import timm, torchvision
from tl_toolkit.text import join_names, named

Library = Literal["torchvision", "timm"]
IMAGENET_CLASSES = 1000

OWN_NORMALIZATION = ("googlenet", "inception_v3")
"""With torchvision's weights these networks rescale their input (`transform_input`, torchvision/models/inception.py);
here the InputSpec does the same from outside."""

WEIGHT_OPTIONS = ("pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path", "cache_dir")
"""Arguments of `timm.create_model` that fetch or read weights. A model file, which may come from anywhere, must not."""

UNKNOWN_OPTION = re.compile(r"unexpected keyword argument '(\w+)'")
FIXED_OPTIONS = ("num_classes", "in_chans", "img_size", "image_size", "init_weights", "device", "dtype")
"""Arguments of networks that follow from the classes and the input."""


@dataclass(frozen=True, slots=True)
class Arch:
    """A network of a library, and the options to build it with.

    Attributes:
        library: The library; the classic networks are registered with timm.
        name: The network's name there.
        options: More keyword arguments of the function that builds it.
    """

    library: Library
    name: str
    options: Mapping[str, Any] = field(default_factory=dict, compare=False)

    def __str__(self) -> str:
        return f"{self.library}:{self.name}"


def list_archs(pattern: str = "*") -> list[Arch]:
    """Return the networks with a classifier whose name matches, torchvision's first.

    Args:
        pattern: A glob, or a part of a name.
    """
    glob = pattern if any(sign in pattern for sign in "*?[") else f"*{pattern}*"
    archs = [Arch("torchvision", name) for name in _torchvision_names()]
    archs += [Arch("timm", name) for name in _timm_names()]
    return [arch for arch in archs if fnmatch.fnmatch(arch.name, glob) or fnmatch.fnmatch(str(arch), glob)]


def resolve_arch(spec: str, options: Mapping[str, Any] | None = None) -> Arch:
    """Find a network; a bare name means torchvision's network if there is one, else timm's.

    Args:
        spec: "NAME", "torchvision:NAME" or "timm:NAME".
        options: More keyword arguments of the function that builds it.

    Raises:
        UnknownNameError: No library has it.
        UsageError: An option would choose weights.
    """
    options = dict(options or {})
    if refused := [name for name in options if name in WEIGHT_OPTIONS]:
        raise UsageError(
            f"No network has the option {join_names(refused)}: {named('weights')} says what it begins with."
        )
    library, _, name = spec.rpartition(":")
    if library in ("", "torchvision") and name in _torchvision_names():
        return Arch("torchvision", name, options)
    if library in ("", "timm") and timm.is_model(name) and _has_tag(name):
        return Arch("timm", name, options)
    if library not in ("", "torchvision", "timm"):
        raise UnknownNameError("model library", library, ("torchvision", "timm"))
    known = {"torchvision": _torchvision_names(), "timm": _timm_names()}
    choices = known[library] if library else dict.fromkeys(_torchvision_names() + _timm_names())
    raise UnknownNameError("architecture", name, choices, "`tl models` lists them.")


def default_input_spec(arch: Arch) -> InputSpec:
    """Return the input that the library's own pretrained weights expect."""
    if arch.library == "timm":
        return timm_input_spec(vars(_timm_config(arch.name)))
    transform = _default_weights(arch.name).transforms()
    size = transform.crop_size[0]
    mean, std = tuple(transform.mean), tuple(transform.std)
    if arch.name in OWN_NORMALIZATION:
        mean, std = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
    return InputSpec(
        height=size,
        width=size,
        mean=mean,
        std=std,
        interpolation=transform.interpolation.value,
        crop_fraction=min(1.0, size / transform.resize_size[0]),
    )


def timm_input_spec(config: Mapping[str, Any]) -> InputSpec:
    """Return the input that a `pretrained_cfg` of timm describes.

    Raises:
        KeyError, TypeError, ValueError, ModelFileError: It is damaged.
    """
    config = {"interpolation": "bicubic", "crop_mode": "center", "crop_pct": 0.875, **config}
    values = {name: config[name] for name in ("mean", "std", "interpolation")}
    values |= dict(zip(("channels", "height", "width"), config["input_size"], strict=True))
    return InputSpec.from_dict(values | {"crop": config["crop_mode"], "crop_fraction": config["crop_pct"]})


def pretrained_classes(arch: Arch) -> int:
    """Return the number of classes of the library's own pretrained weights; 1,000 if it has none."""
    if arch.library == "torchvision":
        return IMAGENET_CLASSES
    return _timm_config(arch.name).num_classes or IMAGENET_CLASSES


def has_pretrained(arch: Arch) -> bool:
    """Return whether the library has weights to download."""
    return arch.library == "torchvision" or bool(_timm_config(arch.name).has_weights)


def pretrained_url(arch: Arch) -> str:
    """Return the origin of the library's own pretrained weights; empty if it has none."""
    if arch.library == "torchvision":
        return str(_default_weights(arch.name).url)
    config = _timm_config(arch.name)
    return f"hf-hub:{config.hf_hub_id}" if config.hf_hub_id else config.url or ""


def pretrained_license(arch: Arch) -> str:
    """Return the licence of the library's own pretrained weights as the library states it; empty if it does not."""
    if arch.library == "torchvision":
        return str(_default_weights(arch.name).meta.get("license", ""))
    stated = _timm_config(arch.name).license or ""
    return "" if stated == "unknown" else str(stated)


def build_backbone(arch: Arch, num_classes: int, spec: InputSpec, **timm_options: Any) -> nn.Module:
    """Build the library's network with random weights (or, through `timm_options`, with timm's).

    Args:
        arch: The network.
        num_classes: Outputs of its classifier.
        spec: Input size for networks that are built for one size.
        timm_options: More keyword arguments of `timm.create_model`.

    Raises:
        UnknownNameError: The network has no such option.
        ModelError: The library cannot build it.
    """
    try:
        if arch.library == "torchvision":
            options: dict[str, Any] = {"image_size": spec.height} if arch.name.startswith("vit_") else {}
            if arch.name in OWN_NORMALIZATION:
                options = {"aux_logits": False, "init_weights": False, "transform_input": False}
            options |= {"weights": None, "num_classes": num_classes}
            module: nn.Module = torchvision.models.get_model(arch.name, **options, **arch.options)
        else:
            sized: dict[str, Any] = {"img_size": (spec.height, spec.width)} if _needs_size(arch.name, spec) else {}
            # A classic network has no weights to adapt, so it is built for the channels.
            sized |= {"in_chans": spec.channels} if arch.name in CLASSIC else {}
            module = timm.create_model(arch.name, num_classes=num_classes, **{**sized, **arch.options, **timm_options})
    except ToolkitError:
        raise
    except Exception as error:  # For odd options the libraries raise errors of every type.
        refused = UNKNOWN_OPTION.search(str(error))
        if refused and refused[1] in arch.options:
            raise UnknownNameError(f"option of {arch}", refused[1], _options(arch, spec), list_all=True) from error
        raise ModelError(f"{arch} cannot be built for {spec.height}x{spec.width} px: {error}") from error
    return module


def build_without_memory(arch: Arch) -> nn.Module:
    """Build the library's network on the meta device; the few whose constructors compute with tensors move there.

    Raises:
        ModelError: The network cannot be built.
    """
    classes, spec = pretrained_classes(arch), default_input_spec(arch)
    try:
        with torch.device("meta"):
            return build_backbone(arch, classes, spec)
    except ModelError:
        return build_backbone(arch, classes, spec).to("meta")


def adapt_first_conv(module: nn.Module, in_channels: int) -> str | None:
    """Adapt the first convolution and its weights to another number of input channels.

    One channel has the sum of the weights over the three colours; more than three repeat them, scaled by
    3 / in_channels (`timm.models.adapt_input_conv`).

    Args:
        module: The network, changed in place.
        in_channels: At least 1.

    Returns:
        Name of the convolution, or None if nothing had to change.

    Raises:
        ModelError: The network does not begin with an ordinary convolution.
    """
    if isinstance(module, ClassicNetwork):
        return None  # It is built for its channels, and may begin with a Linear.
    for name, layer in module.named_modules():
        if not isinstance(layer, nn.Conv2d):
            continue
        if layer.in_channels == in_channels:
            return None
        if layer.in_channels != 3 or layer.groups != 1:
            break
        weight = timm.models.adapt_input_conv(in_channels, layer.weight.detach())
        layer.weight = nn.Parameter(weight.to(layer.weight.dtype).contiguous())
        layer.in_channels = in_channels
        return str(name)
    raise ModelError(
        f"This network does not begin with a convolution over 3 channels, so it cannot take {in_channels}. "
        f"Keep {named('in_channels', 3)}: grayscale images are converted."
    )


def check_input(module: nn.Module, arch: Arch, spec: InputSpec) -> None:
    """Run one blank image through a network.

    Raises:
        ModelError: The network does not take images of this size.
    """
    try:
        with torch.no_grad():
            module.eval()(blank_image(spec))
    except (RuntimeError, ValueError, AssertionError, IndexError) as error:
        own = default_input_spec(arch)
        raise ModelError(
            f"{arch} does not take images of {spec.height}x{spec.width} px ({str(error).splitlines()[0]}). "
            f"Its own size is {named('image_size', own.height)}."
        ) from error


def blank_image(spec: InputSpec) -> torch.Tensor:
    """Return a batch of one blank image."""
    return torch.zeros(1, spec.channels, spec.height, spec.width)


@functools.cache
def _torchvision_names() -> tuple[str, ...]:
    return tuple(torchvision.models.list_models(module=torchvision.models))


@functools.cache
def _timm_names() -> tuple[str, ...]:
    return tuple(name for name in timm.list_models() if _timm_config(name).classifier)


def _timm_config(name: str) -> Any:
    return timm.get_pretrained_cfg(name, allow_unregistered=True) or timm.models.PretrainedCfg()


def _has_tag(name: str) -> bool:
    """Return whether timm has weights for a name's tag: it accepts any text after the dot."""
    base, _, tag = name.partition(".")
    return not tag or name in timm.list_pretrained(f"{base}.*")


def _needs_size(name: str, spec: InputSpec) -> bool:
    """Return whether a timm network is built for one input size and the spec has another."""
    config = _timm_config(name)
    return bool(config.fixed_input_size) and tuple(config.input_size[1:]) != (spec.height, spec.width)


def _default_weights(name: str) -> Any:
    return torchvision.models.get_model_weights(name).DEFAULT


def _options(arch: Arch, spec: InputSpec) -> list[str]:
    """Return the options of a network: the arguments of its class that have a default."""
    with torch.device("meta"):
        module = build_backbone(dataclasses.replace(arch, options={}), IMAGENET_CLASSES, spec)
    arguments = inspect.signature(type(module)).parameters.values()
    optional = [argument.name for argument in arguments if argument.default is not inspect.Parameter.empty]
    return [name for name in optional if name not in FIXED_OPTIONS]
