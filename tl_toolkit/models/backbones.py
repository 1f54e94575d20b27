"""Backbones: names, and plain torchvision and timm networks built from them."""

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
"""Torchvision rescales the input of these inside the network when its own weights are loaded
(`transform_input`, torchvision/models/inception.py); here the InputSpec says the same from outside."""

CHOOSING_WEIGHTS = ("pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path", "cache_dir")
"""Arguments of `timm.create_model` that fetch or read weights: a model file may come from anywhere, and may not."""


UNKNOWN_OPTION = re.compile(r"unexpected keyword argument '(\w+)'")
GIVEN_OPTIONS = ("num_classes", "in_chans", "img_size", "image_size", "init_weights", "device", "dtype")
"""Arguments of networks that are no options here: they follow from the classes and the input."""


@dataclass(frozen=True, slots=True)
class Arch:
    """A network's name, the library that has it, and the options it is built with.

    Attributes:
        library: Whose network it is; the classic ones are registered with timm.
        name: Its name there.
        options: More keyword arguments of the function that builds it.
    """

    library: Library
    name: str
    options: Mapping[str, Any] = field(default_factory=dict, compare=False)

    def __str__(self) -> str:
        return f"{self.library}:{self.name}"


def list_archs(pattern: str = "*") -> list[Arch]:
    """Every network with a classifier whose name matches, torchvision's first.

    Args:
        pattern: A glob; a word without wildcards matches anywhere in a name.
    """
    glob = pattern if any(sign in pattern for sign in "*?[") else f"*{pattern}*"
    archs = [Arch("torchvision", name) for name in _torchvision_names()]
    archs += [Arch("timm", name) for name in _timm_names()]
    return [arch for arch in archs if fnmatch.fnmatch(arch.name, glob) or fnmatch.fnmatch(str(arch), glob)]


def resolve_arch(spec: str, options: Mapping[str, Any] | None = None) -> Arch:
    """Finds a network; a bare name means torchvision's where torchvision has it, else timm's.

    Args:
        spec: A name, perhaps with the library before it.
        options: More keyword arguments of the function that builds it.

    Raises:
        UnknownNameError: Neither has it.
        UsageError: An option would choose weights.
    """
    chosen = dict(options or {})
    if taken := [name for name in chosen if name in CHOOSING_WEIGHTS]:
        raise UsageError(f"No network has the option {join_names(taken)}: {named('weights')} says what it begins with.")
    library, _, name = spec.rpartition(":")
    if library in ("", "torchvision") and name in _torchvision_names():
        return Arch("torchvision", name, chosen)
    if library in ("", "timm") and timm.is_model(name) and _has_tag(name):
        return Arch("timm", name, chosen)
    if library not in ("", "torchvision", "timm"):
        raise UnknownNameError("model library", library, ("torchvision", "timm"))
    known = {"torchvision": _torchvision_names(), "timm": _timm_names()}
    choices = known[library] if library else dict.fromkeys(_torchvision_names() + _timm_names())
    raise UnknownNameError("architecture", name, choices, "`tl models` lists them.")


def default_input_spec(arch: Arch) -> InputSpec:
    """What the library's own pretrained weights expect."""
    if arch.library == "timm":
        return _timm_input_spec(arch.name)
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


def pretrained_classes(arch: Arch) -> int:
    """Classes of the library's own pretrained weights; 1,000 where it has none."""
    if arch.library == "torchvision":
        return IMAGENET_CLASSES
    return _timm_config(arch.name).num_classes or IMAGENET_CLASSES


def has_pretrained(arch: Arch) -> bool:
    """Whether the library has weights to download."""
    return True if arch.library == "torchvision" else bool(_timm_config(arch.name).has_weights)


def pretrained_url(arch: Arch) -> str:
    """Where the library's own pretrained weights are downloaded from; empty where it has none."""
    if arch.library == "torchvision":
        return str(_default_weights(arch.name).url)
    config = _timm_config(arch.name)
    return f"hf-hub:{config.hf_hub_id}" if config.hf_hub_id else config.url or ""


def pretrained_license(arch: Arch) -> str:
    """The licence of the library's own pretrained weights, as the library states it; empty where it does not."""
    if arch.library == "torchvision":
        return str(_default_weights(arch.name).meta.get("license", ""))
    stated = _timm_config(arch.name).license or ""
    return "" if stated == "unknown" else str(stated)


def build_backbone(arch: Arch, num_classes: int, spec: InputSpec, **timm_options: Any) -> nn.Module:
    """Builds the library's network with random weights (or, through `timm_options`, with timm's).

    Args:
        arch: The network.
        num_classes: Outputs of its classifier.
        spec: Gives the input size to networks that are built for one size.
        timm_options: More keyword arguments of `timm.create_model`.

    Raises:
        UnknownNameError: The network has no such option.
        ModelError: The library cannot build it so.
    """
    try:
        if arch.library == "torchvision":
            options = _torchvision_options(arch, num_classes, spec)
            module: nn.Module = torchvision.models.get_model(arch.name, weights=None, **options, **arch.options)
        else:
            sized: dict[str, Any] = {"img_size": (spec.height, spec.width)} if _needs_size(arch.name, spec) else {}
            # A classic network has no weights to adapt: it is built for the channels at once.
            sized |= {"in_chans": spec.channels} if arch.name in CLASSIC else {}
            module = timm.create_model(arch.name, num_classes=num_classes, **{**sized, **arch.options, **timm_options})
    except ToolkitError:
        raise
    except Exception as error:  # The libraries answer odd options with errors of every type.
        refused = UNKNOWN_OPTION.search(str(error))
        if refused and refused[1] in arch.options:
            raise UnknownNameError(f"option of {arch}", refused[1], _options(arch, spec), list_all=True) from error
        raise ModelError(f"{arch} cannot be built for {spec.height}x{spec.width} px: {error}") from error
    return module


def adapt_first_conv(module: nn.Module, in_channels: int) -> str | None:
    """Gives the first convolution another number of input channels, keeping what its weights know.

    One channel sums the weights over the three colours; more than three repeat them, scaled by 3 / in_channels
    (`timm.models.adapt_input_conv`).

    Args:
        module: Changed in place.
        in_channels: At least 1.

    Returns:
        The convolution's name, or None where nothing had to change.

    Raises:
        ModelError: The network does not begin with an ordinary convolution.
    """
    if isinstance(module, ClassicNetwork):
        return None  # A classic network is built for its channels, and may begin with a Linear.
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
    """Runs one blank image through a network.

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
    """A batch of one blank image of a spec's size."""
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
    """Timm takes any tag after the dot; only those that it has weights for are real."""
    base, _, tag = name.partition(".")
    return not tag or name in timm.list_pretrained(f"{base}.*")


def _timm_input_spec(name: str) -> InputSpec:
    config = _timm_config(name)
    channels, height, width = config.input_size
    return InputSpec(
        channels=channels,
        height=height,
        width=width,
        mean=tuple(config.mean),
        std=tuple(config.std),
        interpolation=config.interpolation,
        crop=config.crop_mode,
        crop_fraction=config.crop_pct,
    )


def _needs_size(name: str, spec: InputSpec) -> bool:
    """Whether a timm network is built for one input size, and the spec's is another."""
    config = _timm_config(name)
    return bool(config.fixed_input_size) and tuple(config.input_size[1:]) != (spec.height, spec.width)


def _default_weights(name: str) -> Any:
    return torchvision.models.get_model_weights(name).DEFAULT


def _options(arch: Arch, spec: InputSpec) -> list[str]:
    """The options that a network can be built with: the arguments of its class that have a default."""
    with torch.device("meta"):
        module = build_backbone(dataclasses.replace(arch, options={}), IMAGENET_CLASSES, spec)
    arguments = inspect.signature(type(module)).parameters.values()
    optional = [argument.name for argument in arguments if argument.default is not inspect.Parameter.empty]
    return [name for name in optional if name not in GIVEN_OPTIONS]


def _torchvision_options(arch: Arch, num_classes: int, spec: InputSpec) -> dict[str, Any]:
    options: dict[str, Any] = {"num_classes": num_classes}
    if arch.name in OWN_NORMALIZATION:
        options |= {"aux_logits": False, "init_weights": False, "transform_input": False}
    if arch.name.startswith("vit_"):
        options["image_size"] = spec.height
    return options
