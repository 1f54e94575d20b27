import dataclasses
import hashlib
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file

from tests.helpers.exports import export_network
from tl_toolkit.errors import UnsafeFileError, WeightsError
from tl_toolkit.input_spec import InputSpec
from tl_toolkit.model_file import ModelMetadata
from tl_toolkit.models.backbones import Arch, resolve_arch
from tl_toolkit.models.weights import resolve as weights
from tl_toolkit.models.weights.files import read_weight_file
from tl_toolkit.models.weights.resolve import InputOverrides, WeightsRequest, load_backbone

RESNET18 = Arch("torchvision", "resnet18")


def load(spec: str, arch: Arch = RESNET18, **overrides: int) -> weights.Pretrained:
    return load_backbone(WeightsRequest(arch, spec, InputOverrides(**overrides)))


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder and its address."""
    folder = tmp_path / "served"
    folder.mkdir()

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder)) as httpd:
        thread = threading.Thread(target=httpd.serve_forever)
        thread.start()
        yield folder, f"http://127.0.0.1:{httpd.server_port}"
        httpd.shutdown()
        thread.join()


def test_bundled_weights_bring_their_own_input_and_classes():
    loaded = load("bundled")
    assert (loaded.base_classes, loaded.input_spec.height, loaded.warnings) == (200, 64, [])
    assert loaded.module.fc.out_features == 200
    assert loaded.module.conv1.weight.dtype == torch.float32


def test_bundled_weights_for_another_network_are_refused():
    with pytest.raises(
        WeightsError, match="Bundled weights exist for torchvision:resnet18 only, not for timm:resnet18"
    ):
        load("bundled", Arch("timm", "resnet18"))


def test_auto_without_network_takes_the_bundled_with_a_warning_and_soon():
    started = time.perf_counter()
    loaded = load("auto")
    assert time.perf_counter() - started < 10
    assert loaded.origin.startswith("bundled")
    assert loaded.warnings == [
        "The bundled weights know far less than ImageNet's: `tl models show resnet18` says more."
    ]
    assert loaded.fallback.startswith("resnet18-f37072fd.pth is not in the cache, and ")


def test_auto_without_network_and_bundled_says_which_file_goes_where():
    with pytest.raises(WeightsError) as error:
        load("auto", resolve_arch("vgg16"))
    message = str(error.value)
    assert "vgg16-397923af.pth is not in the cache" in message
    assert f"at {Path(torch.hub.get_dir()) / 'checkpoints' / 'vgg16-397923af.pth'}" in message
    assert "weights=FILE" in message


def test_timm_without_network_says_what_to_fetch():
    started = time.perf_counter()
    with pytest.raises(WeightsError, match=r"model\.safetensors of hf-hub:timm/resnet18\.a1_in1k is not in the cache"):
        load("auto", resolve_arch("timm:resnet18"))
    assert time.perf_counter() - started < 10


def test_imagenet_in_the_cache_is_used_without_network(monkeypatch: pytest.MonkeyPatch):
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    folder.mkdir(parents=True)
    network = torchvision.models.resnet18()
    torch.save(network.state_dict(), folder / "new.pth")
    sha256 = hashlib.sha256((folder / "new.pth").read_bytes()).hexdigest()
    (folder / "new.pth").rename(folder / f"resnet18-{sha256[:8]}.pth")
    default = torchvision.models.get_model_weights("resnet18").DEFAULT
    listed = dataclasses.replace(default.value, url=f"https://nowhere.invalid/resnet18-{sha256[:8]}.pth")
    monkeypatch.setattr(default, "_value_", listed)
    loaded = load("auto")
    assert loaded.origin == f"ImageNet (torchvision, resnet18-{sha256[:8]}.pth)"
    assert torch.equal(loaded.module.fc.weight, network.fc.weight)
    assert (loaded.base_classes, loaded.input_spec.height) == (1000, 224)


def test_none_gives_random_weights_at_the_librarys_size():
    loaded = load("none", image_size=32, in_channels=1)
    assert loaded.origin == "random (none asked for)"
    assert (loaded.input_spec.height, loaded.input_spec.channels) == (32, 1)
    assert loaded.module.conv1.in_channels == 1


def test_url_with_the_right_hash_is_fetched_once(served: tuple[Path, str]):
    folder, address = served
    torch.save(torchvision.models.resnet18(num_classes=4).state_dict(), folder / "mine.pth")
    sha256 = hashlib.sha256((folder / "mine.pth").read_bytes()).hexdigest()
    loaded = load(f"{address}/mine.pth#sha256={sha256}")
    assert (loaded.base_classes, loaded.origin) == (4, f"{address}/mine.pth")
    (folder / "mine.pth").unlink()
    assert load(f"{address}/mine.pth#sha256={sha256[:16]}").base_classes == 4


def test_url_without_a_hash_is_refused():
    with pytest.raises(
        WeightsError, match=r"is not fetched without a hash to check it by\. Say https://x\.org/a\.pth#sha256"
    ):
        load("https://x.org/a.pth")


def test_url_whose_cached_file_is_damaged_is_refused():
    path = Path(torch.hub.get_dir()) / "checkpoints" / "mine-12345678.pth"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"damaged")
    with pytest.raises(WeightsError, match="is damaged: its SHA-256 does not begin with 12345678. Delete it"):
        load("https://x.org/mine-12345678.pth")


def test_file_with_another_head_is_loaded_without_it_and_says_so(
    write_weights: Callable[[torch.nn.Module, str], Path],
):
    source = torchvision.models.resnet18()
    source.fc = torch.nn.Sequential(torch.nn.Linear(512, 16), torch.nn.Linear(16, 3))
    loaded = load(str(write_weights(source, "mine.pth")))
    assert torch.equal(loaded.module.layer4[1].conv2.weight, source.layer4[1].conv2.weight)
    assert loaded.warnings[0].startswith("mine.pth was loaded without its head.")
    assert "fc.0.weight" in loaded.warnings[0]


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod."])
def test_file_of_a_wrapped_training_script_is_unwrapped(tmp_path: Path, prefix: str):
    state = torchvision.models.resnet18(num_classes=5).state_dict()
    torch.save({"epoch": 3, "state_dict": {prefix + key: v for key, v in state.items()}}, tmp_path / "checkpoint.pt")
    assert torch.equal(load(str(tmp_path / "checkpoint.pt")).module.fc.weight, state["fc.weight"])


def test_file_of_a_grayscale_network_makes_one_for_grayscale(write_weights: Callable[[torch.nn.Module, str], Path]):
    grey = torchvision.models.resnet18(num_classes=5)
    grey.conv1 = torch.nn.Conv2d(1, 64, 7, 2, 3, bias=False)
    loaded = load(str(write_weights(grey, "grey.pth")))
    assert (loaded.module.conv1.in_channels, loaded.input_spec.channels) == (1, 1)
    assert torch.equal(loaded.module.conv1.weight, grey.conv1.weight)


def test_file_of_another_network_lists_the_keys(write_weights: Callable[[torch.nn.Module, str], Path]):
    path = write_weights(torchvision.models.resnet34(num_classes=5), "resnet34.pth")
    with pytest.raises(
        WeightsError, match=r"resnet34\.pth does not fit this network: \d+ keys differ outside the head"
    ):
        load(str(path))


def test_file_that_is_no_weights_says_what_it_is(tmp_path: Path):
    bad = {"text.pth": b"not weights", "empty.pt": b"", "text.safetensors": b"12345678{}"}
    for name, content in bad.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(WeightsError, match=name):
            load(str(tmp_path / name))
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(WeightsError, match="holds a list, but a state_dict"):
        load(str(tmp_path / "list.pt"))


def test_full_model_of_plain_code_is_taken_as_weights(tmp_path: Path):
    source = torchvision.models.resnet18(num_classes=5)
    torch.save(source, tmp_path / "full.pt")
    loaded = load(str(tmp_path / "full.pt"))
    assert (loaded.base_classes, loaded.input_spec.height) == (5, 224)
    assert torch.equal(loaded.module.fc.weight, source.fc.weight)
    torch.save({"epoch": 3, "model": source}, tmp_path / "checkpoint.pt")
    assert torch.equal(load(str(tmp_path / "checkpoint.pt")).module.fc.weight, source.fc.weight)


def test_full_model_of_tl_brings_its_input_and_its_network(tmp_path: Path):
    module = torchvision.models.resnet18(num_classes=3)
    metadata = ModelMetadata("torchvision:resnet18", "swap", 1000, tuple("abc"), InputSpec(height=64, width=64))
    export_network(module, metadata, "full-model", tmp_path / "full.pt")
    loaded = load(str(tmp_path / "full.pt"))
    assert (loaded.base_classes, loaded.input_spec, loaded.warnings) == (3, metadata.input_spec, [])
    with pytest.raises(
        WeightsError, match=r"full\.pt holds weights of torchvision:resnet18, not of torchvision:resnet34"
    ):
        load(str(tmp_path / "full.pt"), resolve_arch("resnet34"))


def test_file_that_would_run_code_is_refused(tmp_path: Path):
    torch.save({"state_dict": torchvision.models.resnet18().state_dict(), "path": tmp_path}, tmp_path / "odd.pt")
    with pytest.raises(UnsafeFileError, match=r"loading it could run code: it calls pathlib\.PosixPath"):
        load(str(tmp_path / "odd.pt"))


def test_weights_that_do_not_exist_list_the_choices():
    with pytest.raises(
        WeightsError, match="Besides a file, weights takes auto, imagenet, package, bundled, none, a URL"
    ):
        load("imagnet")


def test_weights_of_a_network_with_two_heads_are_loaded_from_a_file(
    write_weights: Callable[[torch.nn.Module, str], Path],
):
    source = timm.create_model("deit_tiny_distilled_patch16_224", num_classes=4)
    loaded = load(str(write_weights(source, "deit.pth")), resolve_arch("timm:deit_tiny_distilled_patch16_224"))
    assert loaded.base_classes == 4
    assert torch.equal(loaded.module.head_dist.weight, source.head_dist.weight)


def test_auto_with_a_cache_that_cannot_be_written_takes_the_bundled(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TORCH_HOME", "/proc/nothing")
    assert load("auto").weights == "bundled"


@pytest.mark.parametrize("cut", [0.2, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("legacy", [False, True])
def test_file_that_is_torn_is_a_weights_error(tmp_path: Path, cut: float, legacy: bool):
    path = tmp_path / "torn.pth"
    state = torchvision.models.squeezenet1_1(num_classes=2).state_dict()
    torch.save(state, path, _use_new_zipfile_serialization=not legacy)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * cut)])
    with pytest.raises(WeightsError, match=r"torn\.pth is damaged"):
        load(str(path), resolve_arch("squeezenet1_1"))


def test_load_backbone_of_a_classic_network_says_that_it_is_trained_from_scratch():
    with pytest.raises(WeightsError, match='lenet5 has no pretrained weights: say weights="none" and tune="full"'):
        load("auto", resolve_arch("lenet5"))


def test_read_weight_file_of_a_network_that_lacks_its_parameters_says_so(tmp_path: Path):
    network = torch.nn.Linear(2, 3)
    del network.__dict__["_parameters"]
    path = tmp_path / "network.pt"
    torch.save(network, path)
    with pytest.raises(WeightsError, match="is damaged: its network has no state_dict"):
        read_weight_file(path)


@pytest.mark.parametrize("name", ["weights.bin", "weights.pth", "weights.safetensors"])
def test_read_weight_file_goes_by_content(name: str, tmp_path: Path):
    path = tmp_path / name
    state = {"weight": torch.arange(3.0)}
    save_file(state, path)
    assert torch.equal(read_weight_file(path).state["weight"], state["weight"])
    torch.save(state, path)
    assert torch.equal(read_weight_file(path).state["weight"], state["weight"])
    path.write_text("arch: resnet18")
    with pytest.raises(WeightsError) as error:
        read_weight_file(path)
    assert str(error.value) == (
        f"{path} is a text file and holds no weights: give a safetensors file, or one of torch.save."
    )
    path.write_bytes(b"")
    with pytest.raises(
        WeightsError, match="holds no weights: expected a safetensors file or one of .* but it is empty"
    ):
        read_weight_file(path)


def test_load_backbone_from_a_folder_says_to_name_a_file(tmp_path: Path):
    with pytest.raises(WeightsError) as error:
        load(str(tmp_path))
    assert str(error.value) == (
        f"{tmp_path} is a folder: say which file in it holds the weights, such as a run's model.safetensors."
    )
