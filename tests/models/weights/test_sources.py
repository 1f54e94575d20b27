import dataclasses
import time
from pathlib import Path

import huggingface_hub
import pytest
import torch

from tl_toolkit.models.backbones import list_archs, resolve_arch
from tl_toolkit.models.weights import packages
from tl_toolkit.models.weights.sources import weight_sources, weights_here


def put(path: Path) -> None:
    path.parent.mkdir(parents=True)
    path.touch()


def test_weights_here_tells_bundled_package_and_none():
    names = ("resnet18", "timm:resnet18", "tf_efficientnet_lite0", "vgg16", "lenet5")
    assert [weights_here(resolve_arch(name)) for name in names] == ["bundled", None, "package", None, None]


def test_weights_here_finds_what_the_caches_hold():
    put(Path(torch.hub.get_dir()) / "checkpoints" / "resnet18-f37072fd.pth")
    hub = Path(huggingface_hub.constants.HF_HUB_CACHE) / "models--timm--tf_efficientnet_lite0.in1k"
    put(hub / "refs" / "main")
    (hub / "refs" / "main").write_text("1")
    put(hub / "snapshots" / "1" / "model.safetensors")
    put(hub.parent / "models--timm--resnet34.a1_in1k" / "snapshots" / "1" / "README.md")
    names = ("resnet18", "tf_efficientnet_lite0", "timm:resnet34")
    assert [weights_here(resolve_arch(name)) for name in names] == ["cached", "cached", None]


def test_weights_here_finds_timms_weights_without_a_hub_repository():
    network = resolve_arch("gcvit_base")
    assert weights_here(network) is None
    put(Path(torch.hub.get_dir()) / "checkpoints" / "gcvit_base_224_nvidia-f009139b.pth")
    assert weights_here(network) == "cached"


def test_weights_here_without_the_package_is_none(monkeypatch: pytest.MonkeyPatch):
    missing = dataclasses.replace(packages.PACKAGES[0], distribution="absent")
    monkeypatch.setattr(packages, "PACKAGES", (missing,))
    assert weights_here(resolve_arch("tf_efficientnet_lite0")) is None


def test_weights_here_of_every_network_is_quick():
    archs = list_archs()
    started = time.perf_counter()
    places = {weights_here(arch) for arch in archs}
    assert time.perf_counter() - started < 5  # 0.2 s where nothing else runs.
    assert places == {None, "bundled", "package"}


def test_weight_sources_tells_the_licence_where_the_library_states_it():
    stated = {
        name: [(source.weights, source.license) for source in weight_sources(resolve_arch(name))]
        for name in ("vgg16", "regnet_y_128gf", "timm:convnextv2_tiny", "mlp_mnist")
    }
    assert stated == {
        "vgg16": [("imagenet", "")],
        "regnet_y_128gf": [("imagenet", "https://github.com/facebookresearch/SWAG/blob/main/LICENSE")],
        "timm:convnextv2_tiny": [("imagenet", "cc-by-nc-4.0")],
        "mlp_mnist": [],
    }
