import contextlib
import functools
import importlib
import logging
import os
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torchvision
from torch import nn

from tests.helpers.pickles import Called
from tl_toolkit.errors import ModelFileError, UnsafeFileError
from tl_toolkit.models.backbones import blank_image, build_backbone, default_input_spec, list_archs, resolve_arch
from tl_toolkit.models.pickles.load import load_pickled, metadata_of

SMALL = [
    "torchvision:resnet18",
    "torchvision:squeezenet1_1",
    "torchvision:mobilenet_v3_small",
    "torchvision:efficientnet_b0",
    "torchvision:shufflenet_v2_x0_5",
    "torchvision:convnext_tiny",
    "torchvision:swin_t",
    "timm:vit_tiny_patch16_224",
    "timm:convnext_atto",
    "timm:mobilenetv4_conv_small",
    "timm:lenet5",
    "timm:resnet18_digits",
]


def saved(thing: Any, folder: Path, **options: Any) -> Path:
    """As plain code saves it."""
    torch.save(thing, folder / "saved.pt", **options)
    return folder / "saved.pt"


def check_loads_alike(name: str, folder: Path) -> None:
    """A network that plain code saved is loaded, and gives the same logits."""
    arch = resolve_arch(name)
    spec = default_input_spec(arch)
    module = build_backbone(arch, 3, spec).eval()
    loaded = load_pickled(saved(module, folder))
    assert type(loaded) is type(module)
    images = torch.rand_like(blank_image(spec))
    with torch.no_grad():
        assert torch.equal(loaded(images), module(images))


@pytest.mark.parametrize("name", SMALL)
def test_load_of_a_harmless_network_gives_the_same_logits(name: str, tmp_path: Path):
    check_loads_alike(name, tmp_path)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The default weight initialization of")  # torchvision says it of its oldest two.
@pytest.mark.parametrize("library", ["torchvision", "timm"])
def test_load_of_every_family_gives_the_same_logits(library: str, tmp_path: Path):
    """The first network of each of torchvision's and timm's modules that has at most 60 million parameters."""
    failed: dict[str, str] = {}
    seen: set[str] = set()
    for arch in list_archs(f"{library}:*"):
        builders = timm.models.model_entrypoint if library == "timm" else torchvision.models.get_model_builder
        family = builders(arch.name).__module__
        if family in seen or _parameters(arch.name, library) > 60_000_000:
            continue
        seen.add(family)
        try:
            check_loads_alike(str(arch), tmp_path)
        except (UnsafeFileError, AssertionError) as error:
            failed[family] = str(error).splitlines()[0]
    print(f"{len(seen)} families of {library}, {len(failed)} refused: {failed}")
    assert set(failed) <= {"timm.models.fasternet"}


def _parameters(name: str, library: str) -> int:
    build = timm.create_model if library == "timm" else torchvision.models.get_model
    with contextlib.suppress(NotImplementedError), torch.device("meta"):
        return sum(parameter.numel() for parameter in build(name).parameters())
    return 0  # torchvision's regnets need memory to be built.


def with_attribute(thing: Any) -> nn.Module:
    """A harmless network with one more attribute."""
    module = nn.Sequential(nn.Linear(4, 3))
    module.more = thing
    return module


COMMAND = "touch {marker}"
ATTACKS: dict[str, tuple[Callable[[str], Any], str]] = {
    "a call": (lambda command: Called(os.system, command), r"it calls (posix|nt)\.system"),
    "a call in a network": (lambda command: with_attribute(Called(os.system, command)), r"calls (posix|nt)\.system"),
    "a function kept": (lambda command: with_attribute(os.system), r"holds (posix|nt)\.system"),
    "a partial": (lambda command: with_attribute(functools.partial(os.system, command)), r"holds (posix|nt)\.system"),
    "a hook": (lambda command: with_hook(os.system), r"holds (posix|nt)\.system"),
    "eval": (lambda command: Called(eval, f"__import__('os').system({command!r})"), "it calls builtins.eval"),
    "getattr": (lambda command: Called(getattr, nn.Linear, "forward"), "it calls builtins.getattr"),
    "an import": (lambda command: Called(importlib.import_module, "os"), "it calls importlib.import_module"),
    "torch.load": (lambda command: Called(torch.load, "x.pt"), "it calls torch.serialization.load"),
    "torch.hub": (lambda command: Called(torch.hub.load, "a/b", "c"), "it calls torch.hub.load"),
    "a timm network by name": (lambda command: with_attribute(Called(timm.create_model, "hf-hub:a/b")), "create_model"),
    "a class called": (
        lambda command: with_attribute(Called(nn.Linear, 10, 10)),
        "calls torch.nn.modules.linear.Linear",
    ),
    "a network's class kept": (
        lambda command: with_attribute(torchvision.models.ResNet),
        r"holds torchvision\.models\.resnet\.ResNet",
    ),
    "a network made by code": (lambda command: torch.fx.symbolic_trace(nn.Sequential(nn.ReLU())), r"torch\.fx"),
    "a call through a tensor": (
        lambda command: Called(torch._tensor._rebuild_from_type_v2, os.system, torch.Tensor, (command,), {}),
        r"torch\._tensor\._rebuild_from_type_v2|system",
    ),
    "a class of one's own": (lambda command: Own(), r"it makes a tests\.models\.pickles\.test_load\.Own"),
    "a parallel network": (lambda command: nn.DataParallel(nn.Linear(2, 2)), r"makes a torch\.nn\.parallel"),
}


def with_hook(function: Any) -> nn.Module:
    module = nn.Sequential(nn.Linear(4, 3))
    module.register_forward_hook(function)
    return module


class Own(nn.Module):
    """A module that tl does not know."""


@pytest.mark.parametrize("attack", ATTACKS)
def test_load_of_what_is_no_plain_network_refuses_and_names_it(attack: str, tmp_path: Path):
    make, message = ATTACKS[attack]
    path = saved(make(COMMAND.format(marker=tmp_path / "marker")), tmp_path)
    with pytest.raises(UnsafeFileError, match=message) as error:
        load_pickled(path)
    assert "is refused, as loading it could run code" in str(error.value)
    assert "say trust=True." in str(error.value)
    assert not (tmp_path / "marker").exists()


def write_protocol_4(thing: Any, path: Path) -> None:
    torch.save(thing, path, pickle_protocol=4)


def write_pickle(thing: Any, path: Path) -> None:
    path.write_bytes(pickle.dumps(thing))


def write_legacy(thing: Any, path: Path) -> None:
    torch.save(thing, path, _use_new_zipfile_serialization=False)


@pytest.mark.parametrize("write", [write_protocol_4, write_pickle, write_legacy])
def test_load_of_a_call_in_another_format_refuses_and_names_it(write: Callable[[Any, Path], None], tmp_path: Path):
    write(Called(os.system, COMMAND.format(marker=tmp_path / "marker")), tmp_path / "a.pt")
    with pytest.raises(UnsafeFileError, match=r"(posix|nt)\.system"):
        load_pickled(tmp_path / "a.pt")
    assert not (tmp_path / "marker").exists()


@pytest.mark.filterwarnings("ignore")  # torch.jit is deprecated; files of it remain.
def test_load_of_a_torchscript_program_refuses(tmp_path: Path):
    torch.jit.save(torch.jit.trace(nn.Linear(2, 2), torch.zeros(1, 2)), tmp_path / "a.pt")
    with pytest.raises(UnsafeFileError, match="it is a TorchScript program"):
        load_pickled(tmp_path / "a.pt")


@pytest.mark.parametrize(
    "name",
    [
        "timm.models.vision_transformer\nos",
        "timm.models\nvision_transformer.os.system",
        "timm.models.._hub\nload",
        "timm.models._hub\ntorch",
        "timm.utils.model_ema\nModelEmaV2",
        "torchvision.models.feature_extraction\nDualGraphModule",
        "torchvision.models\nget_model",
        "tests.models.pickles.test_load\nOwn",
        "antigravity\nx",
    ],
)
def test_load_of_a_name_that_is_no_layer_or_network_refuses(name: str, tmp_path: Path):
    path = saved(nn.Identity(), tmp_path)
    archive = torch._C.PyTorchFileWriter(str(path))
    archive.write_record("data.pkl", pickled := b"\x80\x02c" + name.encode() + b"\n)\x81}b.", len(pickled))
    archive.write_end_of_file()
    with pytest.raises(UnsafeFileError, match="is refused"):
        load_pickled(path)
    assert "antigravity" not in sys.modules


def test_what_was_allowed_for_a_file_is_not_allowed_afterwards(tmp_path: Path):
    path = saved(nn.Sequential(nn.Linear(2, 2)), tmp_path)
    before = set(torch.serialization.get_safe_globals())
    load_pickled(path)
    assert set(torch.serialization.get_safe_globals()) == before
    with pytest.raises(pickle.UnpicklingError):
        torch.load(path, weights_only=True)


def test_load_with_trust_warns_and_loads(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    path = saved(Own(), tmp_path)
    with caplog.at_level(logging.WARNING, "tl_toolkit"):
        assert isinstance(load_pickled(path, trust=True), Own)
    assert caplog.messages == [
        f"{path} is loaded because you said trust: code that is in it runs now, with all your rights."
    ]


def test_load_with_trust_of_a_harmless_network_does_not_warn(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    assert isinstance(load_pickled(saved(nn.Linear(2, 2), tmp_path), trust=True), nn.Linear)
    assert caplog.messages == []


@pytest.mark.parametrize("content", [b"", b"not weights", b"PK\x03\x04 torn"])
@pytest.mark.parametrize("trust", [False, True])
def test_load_of_no_pickle_says_so(content: bytes, trust: bool, tmp_path: Path):
    (tmp_path / "a.pt").write_bytes(content)
    with pytest.raises(ModelFileError, match=r"a\.pt (is damaged or no file of torch\.save|cannot be loaded)"):
        load_pickled(tmp_path / "a.pt", trust)


def test_card_of_a_network_that_says_nothing_in_plain_text_is_empty():
    module = nn.Identity()
    assert metadata_of(module) == {}
    for odd in ("text", {"a": 1}, {1: "a"}, [("a", "b")]):
        module.tl_card = odd
        assert metadata_of(module) == {}
    assert metadata_of({"state": 1}) == {}
    module.tl_card = {"a": "b"}
    assert metadata_of(module) == {"a": "b"}
