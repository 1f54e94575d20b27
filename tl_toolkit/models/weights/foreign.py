"""Networks of other programs, with the head that their weights have: nothing is left out, and nothing is random."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from torch import nn

from tl_toolkit.config.choices import Head
from tl_toolkit.errors import ModelError, ToolkitError, UsageError, WeightsError
from tl_toolkit.input_spec import InputSpec
from tl_toolkit.io.module_weights import load_weights
from tl_toolkit.models.backbones import (
    Arch,
    build_without_memory,
    default_input_spec,
    list_archs,
    resolve_arch,
    timm_input_spec,
)
from tl_toolkit.models.build import rebuild_network
from tl_toolkit.models.heads import classifier_paths
from tl_toolkit.models.weights.checkpoints import StateDict, part_for
from tl_toolkit.models.weights.files import WeightFile
from tl_toolkit.models.weights.found_head import find_head
from tl_toolkit.models.weights.matching import Match, match
from tl_toolkit.models.weights.resolve import is_auxiliary
from tl_toolkit.text import join_names, named, plural

MAX_ALIKE = 60
"""Networks of the same family that are tried where a file does not fit; each takes some hundredths of a second."""

FAMILY = re.compile(r"[a-z]+")


@dataclass(frozen=True)
class ForeignNetwork:
    """A network with the weights and the head of a file.

    Attributes:
        module: The library's own object, in eval mode.
        arch: Its name.
        head: How its classifier was changed; "swap" also where it was not.
        outputs: Number of logits.
        base_classes: Outputs of the classifier before the change.
        layer: Name of the layer that gives the logits, in the file.
        input_spec: The pixels that it expects.
        match: The tensors of the file beside those of the network.
        steps: What was taken out of what, in words.
        warnings: What the file does not say.
    """

    module: nn.Module
    arch: Arch
    head: Head
    outputs: int
    base_classes: int
    layer: str
    input_spec: InputSpec
    match: Match
    steps: tuple[str, ...]
    warnings: tuple[str, ...]


def find_arch(file: WeightFile, path: Path, arch: str | None, options: Mapping[str, Any]) -> Arch:
    """Return the network that a file is of: the one that the user names, else the one that it names itself.

    Raises:
        UsageError: Neither names one, or the file names another one, or one that two libraries have.
        UnknownNameError: No library has it.
    """
    noted = file.metadata.get("architecture") or _timm_config(file.network).get("architecture") or file.arch
    if arch is not None:
        found = resolve_arch(arch, options)
        if "architecture" in file.metadata and noted != str(found):
            raise UsageError(f"{path} holds weights of {noted}, not of {found}.")
        return found
    if not noted:
        raise UsageError(
            f"{path} does not say which network it is of: {named('arch', 'NAME')}, with a name from `tl models`."
        )
    if file.network is not None and "architecture" not in file.metadata:
        return resolve_arch(f"timm:{noted}", options)
    found = resolve_arch(str(noted), options)
    if ":" not in str(noted) and len([each for each in list_archs(str(noted)) if each.name == noted]) > 1:
        both = " or ".join(named("arch", f"{library}:{noted}") for library in ("torchvision", "timm"))
        raise UsageError(f"{path} names {noted}, which torchvision and timm both have: {both}.")
    return found


def build_foreign(file: WeightFile, path: Path, arch: Arch, preprocessing: Mapping[str, Any]) -> ForeignNetwork:
    """Build the network of a file, with all its tensors and no others.

    Args:
        file: Its content.
        path: Its name.
        arch: The network.
        preprocessing: Fields of the InputSpec that the user sets; the file or else the library says the others.

    Raises:
        WeightsError: A tensor is missing, unexpected, of another shape or not finite; the message shows them beside
            those of the network.
        ModelError: The network cannot be built.
    """
    plain = build_without_memory(arch)
    state = {key: value for key, value in file.state.items() if not is_auxiliary(arch, key)}
    left = len(file.state) - len(state)
    own = plain.state_dict()
    state, part = part_for(state, own, path.name)
    if not any(key in own for key in state):
        raise WeightsError(_misfit(path, arch, match(state, own), state))
    head = find_head(state, plain, arch, path.name)
    spec, warnings = _input_spec(file, path, arch, preprocessing, _channels(plain, state))
    module, _ = rebuild_network(arch, head.outputs, head.head, head.base_classes, spec)
    found = match(head.state, module.state_dict())
    if not found.is_whole:
        raise WeightsError(_misfit(path, arch, found, state))
    _refuse_infinite(head.state, path)
    load_weights(module, head.state, strict=False)  # Only BatchNorm's counters may be missing, as `match` found.
    auxiliary = f"{plural(left, 'tensor')} of classifiers that only training uses left out" if left else ""
    types = sorted({str(value.dtype).removeprefix("torch.") for value in state.values() if value.is_floating_point()})
    converted = f"{join_names(types)} converted to float32" if types != ["float32"] else ""
    return ForeignNetwork(
        module.eval(),
        arch,
        head.head,
        head.outputs,
        head.base_classes,
        head.layer,
        spec,
        found,
        (*file.steps, *filter(None, (part, auxiliary, converted))),
        (*filter(None, (head.warning,)), *warnings),
    )


def _input_spec(
    file: WeightFile, path: Path, arch: Arch, preprocessing: Mapping[str, Any], channels: int | None
) -> tuple[InputSpec, tuple[str, ...]]:
    """Return the pixels that the weights expect, and a warning if nothing but the network's name says it."""
    config = _timm_config(file.network)
    spec = timm_input_spec(config) if "input_size" in config else default_input_spec(arch)
    spec = spec.with_channels(channels) if channels else spec
    chosen = adjusted(spec, preprocessing)
    if config or preprocessing:
        return chosen, ()
    values = f"{spec.height} px, {spec.interpolation}, mean {_rounded(spec.mean)}, std {_rounded(spec.std)}"
    return chosen, (
        f"{path.name} does not say what input it expects; took {arch}'s own: {values}. If it was trained with another, "
        f"say so: {named('preprocessing', 'KEY=VALUE')}.",
    )


def adjusted(spec: InputSpec, preprocessing: Mapping[str, Any]) -> InputSpec:
    """Return an InputSpec with some fields set by the user.

    Args:
        spec: The others.
        preprocessing: `size` for height and width, or any field of an InputSpec but `channels`, which the tensors say;
            a number for `mean` or `std` is that of each channel.

    Raises:
        UsageError: There is no such field, or its value is invalid.
    """
    fields = spec.to_dict()
    known = ["size", *(name for name in fields if name != "channels")]
    if unknown := [name for name in preprocessing if name not in known]:
        raise UsageError(
            f"{named('preprocessing')} has no {join_names(unknown)}. It has {join_names(known, len(known))}."
        )
    values: dict[str, Any] = dict(preprocessing)
    if "size" in values:
        size = values.pop("size")
        values = {"height": size, "width": size, **values}
    for name in ("mean", "std"):
        if isinstance(values.get(name), int | float):
            values[name] = [values[name]] * spec.channels
    try:
        return InputSpec.from_dict({**fields, **values})
    except ToolkitError as error:
        raise UsageError(f"{named('preprocessing')} makes no InputSpec. {error}") from error


def _timm_config(network: nn.Module | None) -> Mapping[str, Any]:
    """Return what timm notes on its networks; empty for others."""
    config = getattr(network, "__dict__", {}).get("pretrained_cfg")
    return config if isinstance(config, dict) else {}


def _rounded(values: tuple[float, ...]) -> str:
    return "/".join(f"{value:.3g}" for value in values)


def _channels(network: nn.Module, state: StateDict) -> int | None:
    """Return the input channels of a file's first convolution; None if the network begins with none."""
    for name, layer in network.named_modules():
        if isinstance(layer, nn.Conv2d):
            weight = state.get(f"{name}.weight")
            return int(weight.shape[1]) if weight is not None and weight.ndim == 4 and layer.groups == 1 else None
    return None


def _refuse_infinite(state: StateDict, path: Path) -> None:
    broken = [key for key, value in state.items() if value.is_floating_point() and not value.isfinite().all()]
    if broken:
        raise WeightsError(
            f"{path} has values that are no finite numbers (NaN or infinity) in {plural(len(broken), 'tensor')}: "
            f"{join_names(broken)}. Its network gives no answers; save it from an earlier epoch."
        )


def _misfit(path: Path, arch: Arch, found: Match, state: StateDict) -> str:
    """Return the message that shows a file beside the network, and names networks that it fits."""
    alike = _fitting(state, arch)
    hint = f" It fits {join_names(alike)}: {named('arch', alike[0])}." if alike else ""
    return f"{path} does not fit {arch}: {found.describe()}.{hint}\n{found.side_by_side()}"


def _fitting(state: StateDict, arch: Arch) -> list[str]:
    """Return networks of the same family whose tensors a file has, all but those of the head."""
    family = FAMILY.match(arch.name)
    if family is None:
        return []
    fitting = []
    shapes = {key: tuple(value.shape) for key, value in state.items()}
    for other in islice(list_archs(f"{family[0]}*"), MAX_ALIKE):
        if other == arch:
            continue
        try:
            network = build_without_memory(other)
        except (ModelError, RuntimeError):
            continue
        heads = tuple(f"{each}." for each in classifier_paths(network, other))
        own = {key: tuple(value.shape) for key, value in network.state_dict().items()}
        body = {key for key in own if not key.startswith(heads)}
        extra = {key for key in shapes if key not in own and not key.startswith(heads)}
        if not extra and all(shapes.get(key) == own[key] for key in body):
            fitting.append(str(other))
    return fitting
