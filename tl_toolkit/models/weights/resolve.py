"""Backbones with pretrained weights, from wherever `--weights` says."""

import dataclasses
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from torch import nn

from tl_toolkit.config.choices import NAMED_WEIGHTS
from tl_toolkit.errors import ModelFileError, WeightsError
from tl_toolkit.input_spec import InputSpec
from tl_toolkit.io.download import ProgressCallback
from tl_toolkit.io.files import expand_path, is_file, is_folder
from tl_toolkit.models import backbones
from tl_toolkit.models.backbones import Arch, build_backbone
from tl_toolkit.models.classic import CLASSIC
from tl_toolkit.models.heads import APPENDED, classifier_paths
from tl_toolkit.models.weights import hub, packages
from tl_toolkit.models.weights.backbone_files import describe_backbone, is_backbone
from tl_toolkit.models.weights.checkpoints import StateDict, part_for
from tl_toolkit.models.weights.files import fit_state_dict, read_weight_file
from tl_toolkit.models.weights.torch_hub import cache_path, cached_download, file_sha256, hash_in_name
from tl_toolkit.text import join_names, named

BUNDLED_ARCH = Arch("torchvision", "resnet18")
BUNDLED_FILE = Path(__file__).parent / "bundled" / "resnet18_tiny_imagenet.safetensors"
BUNDLED_SHA256 = "50cb7d03e19e9b78e7169317c0c8fe71afaaec3450450ef80b9c30095dff5e01"
BUNDLED_ORIGIN = "bundled (Tiny ImageNet, 200 classes)"
BUNDLED_LICENSE = "Apache-2.0; Tiny ImageNet derives from ImageNet, whose images are for non-commercial research"
"""bundled/README.md describes the file, its recipe and its licence."""

URL_HASH = re.compile(r"sha256=([0-9a-fA-F]{8,64})")


@dataclass(frozen=True)
class Pretrained:
    """A network with its weights.

    Attributes:
        module: The library's own object.
        input_spec: The input that the weights expect, with the user's overrides.
        base_classes: Outputs of the classifier that the weights come with.
        weights: The requested weights; for "auto" the ones that it chose.
        origin: The weights in a few words, with the file's name.
        license: Their licence; empty if unknown.
        warnings: What the user must know about them.
        fallback: Why better ones are not available; empty if these are the best.
        has_classifier: Whether the weights came with a classifier; else it has random ones.
    """

    module: nn.Module
    input_spec: InputSpec
    base_classes: int
    weights: str
    origin: str
    license: str = ""
    warnings: list[str] = field(default_factory=list)
    fallback: str = ""
    has_classifier: bool = True


@dataclass(frozen=True)
class InputOverrides:
    """The part of an InputSpec that the user sets."""

    image_size: int | None = None
    in_channels: int | None = None

    def apply(self, spec: InputSpec) -> InputSpec:
        """Return the spec with the user's values."""
        spec = spec.with_size(self.image_size) if self.image_size else spec
        return spec.with_channels(self.in_channels) if self.in_channels else spec


@dataclass(frozen=True)
class WeightsRequest:
    """Weights to find for a network.

    Attributes:
        arch: The network.
        weights: "auto", "imagenet", "package", "bundled", "none", a file, a URL with `#sha256=`, or
            "hf-hub:ORG/NAME". auto never takes random weights; see `_sources` for its order.
        overrides: The part of the InputSpec that differs from that of the weights.
        progress: Receives the progress of a download.
        trust: Read a file even if code in it would run.
    """

    arch: Arch
    weights: str
    overrides: InputOverrides = InputOverrides()
    progress: ProgressCallback | None = None
    trust: bool = False


def load_backbone(request: WeightsRequest) -> Pretrained:
    """Build a network with the requested weights.

    Raises:
        WeightsError: They are not available; the message says which file goes where.
        ModelError: The network cannot be built with these options or this input.
    """
    loaded = _loader(request.weights)(request)
    backbones.adapt_first_conv(loaded.module, loaded.input_spec.channels)
    backbones.check_input(loaded.module, request.arch, loaded.input_spec)
    return loaded


def _loader(weights: str) -> Callable[[WeightsRequest], Pretrained]:
    by_name = {"auto": _auto, "imagenet": _imagenet, "package": _package, "bundled": _bundled, "none": _none}
    if weights in by_name:
        return by_name[weights]
    if weights.startswith("hf-hub:"):
        return _from_hub
    return _from_url if "://" in weights else _from_file


def cached_imagenet_file(arch: Arch) -> Path | None:
    """Return the library's own pretrained weights in a cache, without a check of their hash; None if there are none."""
    if arch.library == "timm":
        return hub.cached_timm_weights(arch.name)
    path = cache_path(backbones.pretrained_url(arch))
    return path if is_file(path) else None


def _auto(request: WeightsRequest) -> Pretrained:
    """Load from the first source that has the weights, and warn of damaged ones before it."""
    _require_pretrained(request.arch)
    cached = cached_imagenet_file(request.arch) is not None
    failures: list[WeightsError] = []
    damaged: list[WeightsError] = []
    for load in _sources(request.arch):
        try:
            loaded = load(request)
        except WeightsError as error:
            failures.append(error)
            damaged += [error] if cached or load is not _imagenet else []
            continue
        warnings = [f"Took the {loaded.weights} weights: {str(failure).splitlines()[0]}" for failure in damaged]
        if load is _bundled:
            warnings.append(
                f"The bundled weights know far less than ImageNet's: `tl models show {request.arch.name}` says more."
            )
        fallback = str(failures[-1]) if failures else ""
        return dataclasses.replace(loaded, warnings=warnings + loaded.warnings, fallback=fallback)
    raise WeightsError("\n".join(map(str, failures))) from failures[-1]


def _sources(arch: Arch) -> Iterator[Callable[[WeightsRequest], Pretrained]]:
    """Yield what `--weights auto` tries in order: the cache, an installed package, a download, the bundled file."""
    cached = cached_imagenet_file(arch) is not None
    package = packages.find_package(arch)
    if cached:
        yield _imagenet
    if package and packages.is_installed(package):
        yield _package
    if not cached:
        yield _imagenet
    if arch == BUNDLED_ARCH:
        yield _bundled


def _none(request: WeightsRequest) -> Pretrained:
    return _build(request, "none", "random (none asked for)")


def _build(request: WeightsRequest, weights: str, origin: str, license: str = "", **timm_options: Any) -> Pretrained:
    """Build a network as its library's own weights have it, still with random ones unless timm loads some."""
    spec = request.overrides.apply(backbones.default_input_spec(request.arch))
    classes = backbones.pretrained_classes(request.arch)
    module = build_backbone(request.arch, classes, spec, **timm_options)
    return Pretrained(module, spec, classes, weights, origin, license)


def _bundled(request: WeightsRequest) -> Pretrained:
    if request.arch != BUNDLED_ARCH:
        raise WeightsError(f"Bundled weights exist for {BUNDLED_ARCH} only, not for {request.arch}.")
    if file_sha256(BUNDLED_FILE) != BUNDLED_SHA256:
        raise WeightsError(f"The bundled weights {BUNDLED_FILE} are damaged; install the package again.")
    loaded = _from_file(dataclasses.replace(request, weights=str(BUNDLED_FILE)))
    return dataclasses.replace(loaded, weights="bundled", origin=BUNDLED_ORIGIN, license=BUNDLED_LICENSE)


def _package(request: WeightsRequest) -> Pretrained:
    package = packages.find_package(request.arch)
    if package is None:
        known = join_names([str(each.arch) for each in packages.PACKAGES])
        raise WeightsError(
            f"No package with weights of {request.arch} is known, only with those of {known}. Choose one of these "
            f"with {named('arch')}, or {named('weights', 'auto')}."
        )
    built = _build(request, "package", package.origin, package.license)
    packages.load_package_weights(package, built.module)
    return built


def _require_pretrained(arch: Arch) -> None:
    """Refuse networks that their library has no weights for."""
    if arch.name in CLASSIC:
        raise WeightsError(
            f"{arch.name} has no pretrained weights: say {named('weights', 'none')} and {named('tune', 'full')} to "
            "train it from scratch, or give a FILE."
        )
    if not backbones.has_pretrained(arch):
        raise WeightsError(
            f"timm has no pretrained weights for {arch.name}. Choose another, a FILE, or {named('weights', 'none')}."
        )


def _imagenet(request: WeightsRequest) -> Pretrained:
    """Load the library's own weights, from the cache or by a download."""
    _require_pretrained(request.arch)
    try:
        return _library_weights(request)
    except WeightsError as error:
        raise WeightsError(f"{error}{_package_hint(request)}") from error


def _package_hint(request: WeightsRequest) -> str:
    """Return a line of the message: the package that has what cannot be downloaded."""
    package = packages.find_package(request.arch)
    if package is None:
        return ""
    if not packages.is_installed(package):
        return f"\nThe package {package.distribution} has weights of {package.arch} too: {package.install_command}"
    if request.weights == "auto":
        return ""
    return f"\n{named('weights', 'package')} takes those of {package.distribution}."


def _library_weights(request: WeightsRequest) -> Pretrained:
    licence = backbones.pretrained_license(request.arch)
    if request.arch.library == "timm":
        path = hub.timm_weights_file(request.arch.name, request.progress)
        from_file = {"pretrained": True, "pretrained_cfg_overlay": {"file": str(path)}}
        return _build(request, "imagenet", f"pretrained (timm, {path.name})", licence, **from_file)
    path = cached_download(backbones.pretrained_url(request.arch), request.progress)
    built = _build(request, "imagenet", f"ImageNet (torchvision, {path.name})", licence)
    state = {key: v for key, v in read_weight_file(path).state.items() if not is_auxiliary(request.arch, key)}
    fit_state_dict(built.module, state, (), path.name)
    return built


def _from_url(request: WeightsRequest) -> Pretrained:
    url, _, fragment = request.weights.partition("#")
    stated = URL_HASH.fullmatch(fragment)
    sha256 = stated.group(1).lower() if stated else hash_in_name(urlsplit(url).path)
    if sha256 is None:
        raise WeightsError(
            f"{url} is not fetched without a hash to check it by. Say {url}#sha256=HEX, with the first 8 digits "
            "or all, or download the file yourself and give its path."
        )
    path = cached_download(url, request.progress, sha256)
    loaded = _from_file(dataclasses.replace(request, weights=str(path)))
    return dataclasses.replace(loaded, weights=request.weights, origin=url)


def _from_hub(request: WeightsRequest) -> Pretrained:
    repository = hub.fetch_timm_repository(request.weights.removeprefix("hf-hub:"))
    if request.arch != Arch("timm", repository.architecture):
        theirs = f"timm:{repository.architecture}"
        raise WeightsError(f"{request.weights} holds weights of {theirs}; say {named('arch', theirs)}.")
    spec = request.overrides.apply(repository.input_spec or backbones.default_input_spec(request.arch))
    config = {"file": str(repository.weights_file), "num_classes": repository.num_classes}
    module = build_backbone(request.arch, repository.num_classes, spec, pretrained=True, pretrained_cfg_overlay=config)
    return Pretrained(module, spec, repository.num_classes, request.weights, request.weights, repository.license)


def _from_file(request: WeightsRequest) -> Pretrained:
    path = expand_path(request.weights)
    if is_folder(path):
        raise WeightsError(
            f"{request.weights} is a folder: say which file in it holds the weights, such as a run's model.safetensors."
        )
    if not is_file(path):
        raise WeightsError(
            f"There is no weights file {request.weights!r}. Besides a file, {named('weights')} takes "
            f"{', '.join(NAMED_WEIGHTS)}, a URL or hf-hub:ORG/NAME."
        )
    file = read_weight_file(path, request.trust)
    described = _described_spec(request.arch, path, file.metadata)
    spec = described or backbones.default_input_spec(request.arch)
    classes = usual = backbones.pretrained_classes(request.arch)
    size = request.overrides.apply(spec)
    module = build_backbone(request.arch, usual, size)
    heads = classifier_paths(module, request.arch)
    state, _ = part_for(file.state, module.state_dict(), path.name)
    if (weight := state.get(f"{heads[0]}.weight")) is not None:
        classes = weight.shape[0]
    if classes != usual:
        module = build_backbone(request.arch, classes, size)
    channels = _match_channels(module, state)
    spec = request.overrides.apply(spec if described else spec.with_channels(channels))
    differences = fit_state_dict(module, state, (*heads, f"{heads[0].rpartition('.')[0]}.{APPENDED}"), path.name)
    backbone = is_backbone(file.metadata)
    warnings = [f"{path.name} was loaded without its head.\n{differences}"] if differences and not backbone else []
    if described is None:
        warnings.append(f"{path.name} does not say what input it expects; took {request.arch}'s own: {spec.height} px.")
    licence = file.metadata.get("weights_license", "")
    origin = f"{path} ({describe_backbone(file.metadata)})" if backbone else str(path)
    has_classifier = not backbone or weight is not None
    return Pretrained(module, spec, classes, request.weights, origin, licence, warnings, has_classifier=has_classifier)


def _described_spec(arch: Arch, path: Path, metadata: Mapping[str, str]) -> InputSpec | None:
    """Return the InputSpec in the metadata of a file; the bundled file and every model that tl saves have one."""
    if "architecture" in metadata and metadata["architecture"] != str(arch):
        raise WeightsError(f"{path} holds weights of {metadata['architecture']}, not of {arch}.")
    try:
        return InputSpec.from_dict(json.loads(metadata["input_spec"])) if "input_spec" in metadata else None
    except (json.JSONDecodeError, ModelFileError) as error:
        raise WeightsError(f"{path} describes its input in a way that cannot be read: {error}") from error


def _match_channels(module: nn.Module, state: StateDict) -> int:
    """Give the network the input channels of the file, so that its first convolution fits.

    Returns:
        Number of channels; 3 if the network does not begin with a convolution.
    """
    for name, layer in module.named_modules():
        if isinstance(layer, nn.Conv2d):
            weight = state.get(f"{name}.weight")
            if weight is not None and weight.ndim == 4 and weight.shape[1] != layer.in_channels:
                backbones.adapt_first_conv(module, weight.shape[1])
            return layer.in_channels
    return 3


def is_auxiliary(arch: Arch, key: str) -> bool:
    """Return whether a key belongs to a classifier that torchvision uses in training only."""
    return arch.name in backbones.OWN_NORMALIZATION and key.startswith(("aux", "AuxLogits."))
