"""Pretrained weights: where they come from, and backbones that carry them."""

import dataclasses
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
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
from tl_toolkit.models.weights.files import StateDict, fit_state_dict, read_weight_file
from tl_toolkit.models.weights.torch_hub import cache_path, cached_download, file_sha256, hash_in_name
from tl_toolkit.system.libraries import torchvision
from tl_toolkit.text import join_names, named

BUNDLED_ARCH = Arch("torchvision", "resnet18")
BUNDLED_FILE = Path(__file__).parent / "bundled" / "resnet18_tiny_imagenet.safetensors"
BUNDLED_SHA256 = "50cb7d03e19e9b78e7169317c0c8fe71afaaec3450450ef80b9c30095dff5e01"
BUNDLED_ORIGIN = "bundled (Tiny ImageNet, 200 classes)"
BUNDLED_LICENSE = "Apache-2.0; Tiny ImageNet derives from ImageNet, whose images are for non-commercial research"
"""The file, its recipe and its licence are described in bundled/README.md."""

URL_HASH = re.compile(r"sha256=([0-9a-fA-F]{8,64})")


@dataclass(frozen=True)
class Pretrained:
    """A backbone with its weights, before any change to its head.

    Attributes:
        module: The library's own network.
        input_spec: What the weights expect, or as the user overrode it.
        base_classes: Outputs of the classifier.
        choice: What "auto" came to; else as it was asked for.
        origin: The weights in a few words, with the file's name.
        license: Their licence; empty where it is unknown.
        warnings: What the user must know about them.
        fallback: Why better ones could not be had; empty where these are the best.
    """

    module: nn.Module
    input_spec: InputSpec
    base_classes: int
    choice: str
    origin: str
    license: str = ""
    warnings: list[str] = field(default_factory=list)
    fallback: str = ""


@dataclass(frozen=True)
class InputOverrides:
    """What of an InputSpec the user set."""

    image_size: int | None = None
    in_channels: int | None = None

    def apply(self, spec: InputSpec) -> InputSpec:
        """The spec with the user's values."""
        spec = spec.with_size(self.image_size) if self.image_size else spec
        return spec.with_channels(self.in_channels) if self.in_channels else spec


@dataclass(frozen=True)
class WeightsRequest:
    """What weights are wanted.

    Attributes:
        arch: The network.
        weights: "auto", "imagenet", "package", "bundled", "none", a file, a URL with `#sha256=`, or
            "hf-hub:ORG/NAME". auto never takes random weights; see `_sources` for its order.
        overrides: What of the InputSpec is not as the weights have it.
        progress: Told of a download's progress.
        trust: Read a file even where code that is in it would run.
    """

    arch: Arch
    weights: str
    overrides: InputOverrides = InputOverrides()
    progress: ProgressCallback | None = None
    trust: bool = False


def load_backbone(request: WeightsRequest) -> Pretrained:
    """Builds a network with the weights asked for.

    Raises:
        WeightsError: They cannot be had; the message says which file goes where.
        ModelError: The network cannot be built as asked.
    """
    loaded = _choose(request.weights)(request)
    backbones.adapt_first_conv(loaded.module, loaded.input_spec.channels)
    backbones.check_input(loaded.module, request.arch, loaded.input_spec)
    return loaded


def _choose(weights: str) -> Callable[[WeightsRequest], Pretrained]:
    named = {"auto": _auto, "imagenet": _imagenet, "package": _package, "bundled": _bundled, "none": _none}
    if weights in named:
        return named[weights]
    if weights.startswith("hf-hub:"):
        return _from_hub
    return _from_url if "://" in weights else _from_file


def cached_imagenet_file(arch: Arch) -> Path | None:
    """The library's own pretrained weights where a cache has them; their hash is not checked."""
    if arch.library == "timm":
        return hub.cached_timm_weights(arch.name)
    path = cache_path(torchvision.models.get_model_weights(arch.name).DEFAULT.url)
    return path if is_file(path) else None


def _auto(request: WeightsRequest) -> Pretrained:
    """Loads from the first source that has the weights, and warns of damaged ones before it."""
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
        warnings = [f"Took the {loaded.choice} weights: {str(failure).splitlines()[0]}" for failure in damaged]
        if load is _bundled:
            warnings.append(
                f"The bundled weights know far less than ImageNet's: `tl models show {request.arch.name}` says more."
            )
        fallback = str(failures[-1]) if failures else ""
        return dataclasses.replace(loaded, warnings=warnings + loaded.warnings, fallback=fallback)
    raise WeightsError("\n".join(map(str, failures))) from failures[-1]


def _sources(arch: Arch) -> Iterator[Callable[[WeightsRequest], Pretrained]]:
    """What `--weights auto` tries, in order: the cache, an installed package, a download, the bundled file."""
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
    spec = request.overrides.apply(backbones.default_input_spec(request.arch))
    classes = backbones.pretrained_classes(request.arch)
    return Pretrained(build_backbone(request.arch, classes, spec), spec, classes, "none", "random (none asked for)")


def _bundled(request: WeightsRequest) -> Pretrained:
    if request.arch != BUNDLED_ARCH:
        raise WeightsError(f"Bundled weights exist for {BUNDLED_ARCH} only, not for {request.arch}.")
    if file_sha256(BUNDLED_FILE) != BUNDLED_SHA256:
        raise WeightsError(f"The bundled weights {BUNDLED_FILE} are damaged; install the package again.")
    loaded = _from_file(dataclasses.replace(request, weights=str(BUNDLED_FILE)))
    return dataclasses.replace(loaded, choice="bundled", origin=BUNDLED_ORIGIN, license=BUNDLED_LICENSE)


def _package(request: WeightsRequest) -> Pretrained:
    package = packages.find_package(request.arch)
    if package is None:
        known = join_names([str(each.arch) for each in packages.PACKAGES])
        raise WeightsError(
            f"No package with weights of {request.arch} is known, only with those of {known}. Choose one of these "
            f"with {named('arch')}, or {named('weights', 'auto')}."
        )
    spec = request.overrides.apply(backbones.default_input_spec(request.arch))
    classes = backbones.pretrained_classes(request.arch)
    module = build_backbone(request.arch, classes, spec)
    packages.load_package_weights(package, module)
    return Pretrained(module, spec, classes, "package", package.origin, package.license)


def _require_pretrained(arch: Arch) -> None:
    """Refuses networks that the library has no weights for."""
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
    """The library's own weights, from the cache or downloaded."""
    _require_pretrained(request.arch)
    try:
        return _library_weights(request)
    except WeightsError as error:
        raise WeightsError(f"{error}{_package_hint(request)}") from error


def _package_hint(request: WeightsRequest) -> str:
    """The package that has what cannot be downloaded, as one more line of the message."""
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
    spec = request.overrides.apply(backbones.default_input_spec(request.arch))
    classes = backbones.pretrained_classes(request.arch)
    if request.arch.library == "timm":
        path = hub.timm_weights_file(request.arch.name, request.progress)
        module = build_backbone(
            request.arch, classes, spec, pretrained=True, pretrained_cfg_overlay={"file": str(path)}
        )
        return Pretrained(module, spec, classes, "imagenet", f"pretrained (timm, {path.name})", licence)
    url = torchvision.models.get_model_weights(request.arch.name).DEFAULT.url
    path = cached_download(url, request.progress)
    module = build_backbone(request.arch, classes, spec)
    state = {key: v for key, v in read_weight_file(path).state.items() if not _is_auxiliary(request.arch, key)}
    fit_state_dict(module, state, (), path.name)
    return Pretrained(module, spec, classes, "imagenet", f"ImageNet (torchvision, {path.name})", licence)


def _from_url(request: WeightsRequest) -> Pretrained:
    url, _, fragment = request.weights.partition("#")
    given = URL_HASH.fullmatch(fragment)
    sha256 = given.group(1).lower() if given else hash_in_name(urlsplit(url).path)
    if sha256 is None:
        raise WeightsError(
            f"{url} is not fetched without a hash to check it by. Say {url}#sha256=HEX, with the first 8 digits "
            "or all, or download the file yourself and give its path."
        )
    path = cached_download(url, request.progress, sha256)
    loaded = _from_file(dataclasses.replace(request, weights=str(path)))
    return dataclasses.replace(loaded, choice=request.weights, origin=url)


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
    state = file.state
    described = _described_spec(request.arch, path, file.metadata)
    spec = described or backbones.default_input_spec(request.arch)
    usual = backbones.pretrained_classes(request.arch)
    size = request.overrides.apply(spec)
    module = build_backbone(request.arch, usual, size)
    heads = classifier_paths(module, request.arch)
    classes = _rows(state, heads[0]) or usual
    if classes != usual:
        module = build_backbone(request.arch, classes, size)
    channels = _match_channels(module, state)
    spec = request.overrides.apply(spec if described else spec.with_channels(channels))
    report = fit_state_dict(module, state, (*heads, f"{heads[0].rpartition('.')[0]}.{APPENDED}"), path.name)
    warnings = [f"{path.name} was loaded without its head.\n{report.details}"] if report.without_head else []
    if described is None:
        warnings.append(f"{path.name} does not say what input it expects; took {request.arch}'s own: {spec.height} px.")
    licence = file.metadata.get("weights_license", "")
    return Pretrained(module, spec, classes, request.weights, str(path), licence, warnings)


def _described_spec(arch: Arch, path: Path, metadata: Mapping[str, str]) -> InputSpec | None:
    """The InputSpec that `tl` noted in a file, as it does in the bundled one and in every model that it saves."""
    if "architecture" in metadata and metadata["architecture"] != str(arch):
        raise WeightsError(f"{path} holds weights of {metadata['architecture']}, not of {arch}.")
    try:
        return InputSpec.from_dict(json.loads(metadata["input_spec"])) if "input_spec" in metadata else None
    except (json.JSONDecodeError, ModelFileError) as error:
        raise WeightsError(f"{path} describes its input in a way that cannot be read: {error}") from error


def _rows(state: StateDict, head: str) -> int | None:
    weight = state.get(f"{head}.weight")
    return weight.shape[0] if weight is not None else None


def _match_channels(module: nn.Module, state: StateDict) -> int:
    """Gives the network the input channels of the file, so that its first convolution fits.

    Returns:
        The channels; 3 where the network does not begin with a convolution.
    """
    for name, layer in module.named_modules():
        if isinstance(layer, nn.Conv2d):
            weight = state.get(f"{name}.weight")
            if weight is not None and weight.ndim == 4 and weight.shape[1] != layer.in_channels:
                backbones.adapt_first_conv(module, weight.shape[1])
            return layer.in_channels
    return 3


def _is_auxiliary(arch: Arch, key: str) -> bool:
    """Whether a key belongs to a classifier that torchvision uses in its own training only."""
    return arch.name in backbones.OWN_NORMALIZATION and key.startswith(("aux", "AuxLogits."))
