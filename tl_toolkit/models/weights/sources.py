"""Sources of a network's pretrained weights, and which of them are on this machine."""

from dataclasses import dataclass
from typing import Literal

from tl_toolkit.models import backbones
from tl_toolkit.models.backbones import Arch
from tl_toolkit.models.weights import packages
from tl_toolkit.models.weights.hub import hub_folder
from tl_toolkit.models.weights.resolve import BUNDLED_ARCH, BUNDLED_LICENSE, BUNDLED_ORIGIN, cached_imagenet_file
from tl_toolkit.models.weights.torch_hub import cache_path
from tl_toolkit.text import named

Here = Literal["cached", "package", "bundled"]
PLACES: dict[str, Here] = {"imagenet": "cached", "package": "package", "bundled": "bundled"}
"""Names of places on this machine by the value of --weights."""


@dataclass(frozen=True)
class WeightSource:
    """A source of a network's pretrained weights.

    Attributes:
        weights: The value of --weights that takes them.
        origin: URL, package or description.
        license: Their licence; empty if unknown.
        here: Whether they are on this machine.
        note: How to get them here, or what to know about them.
    """

    weights: Literal["imagenet", "package", "bundled"]
    origin: str
    license: str
    here: bool
    note: str = ""


def weight_sources(arch: Arch) -> list[WeightSource]:
    """Return the sources of a network's pretrained weights, in the order in which --weights auto prefers local ones.

    It opens no file, so it checks no hash, and asks no other machine.
    """
    sources = []
    if backbones.has_pretrained(arch):
        url, licence = backbones.pretrained_url(arch), backbones.pretrained_license(arch)
        here = cached_imagenet_file(arch) is not None
        sources.append(WeightSource("imagenet", url, licence, here, "" if here else _how_to_get(url)))
    if package := packages.find_package(arch):
        origin = f"{package.origin}: {package.source}"
        here = packages.locate_file(package) is not None
        sources.append(WeightSource("package", origin, package.license, here, "" if here else package.install_command))
    if arch == BUNDLED_ARCH:
        note = f"they know far less than ImageNet's; {named('weights', 'auto')} takes them only where it has no others"
        sources.append(WeightSource("bundled", BUNDLED_ORIGIN, BUNDLED_LICENSE, True, note))
    return sources


def _how_to_get(url: str) -> str:
    """Return how to get a library's own weights to this machine, with and without a network."""
    repository = url.removeprefix("hf-hub:")
    if repository != url:
        where = f"run `hf download {repository}` elsewhere and copy its folder to {hub_folder(repository)}"
    else:
        where = f"put the file at {cache_path(url)}"
    return f"downloaded when they are needed; without a network {where}"


def weights_here(arch: Arch) -> Here | None:
    """Return the place on this machine from which --weights auto takes a network's weights; None if there is none.

    It takes a tenth of a millisecond, as it checks no hash.
    """
    return next((PLACES[source.weights] for source in weight_sources(arch) if source.here), None)
