from pathlib import Path

import pytest
import timm
import torch
import torchvision
from torch import nn

import tl_toolkit as tl
from tl_toolkit.errors import UsageError
from tl_toolkit.export.weights import export
from tl_toolkit.input_spec import InputSpec
from tl_toolkit.model_file import ModelMetadata
from tl_toolkit.recipes.finetune import Run


def vgg16(head: str) -> nn.Module:
    """Plain torchvision code, as a user writes it."""
    module = torchvision.models.vgg16(weights=None, init_weights=False)
    if head == "swap":
        module.classifier[6] = nn.Linear(4096, 5)
    else:
        module.classifier.add_module("Linear", nn.Linear(1000, 5))
    return module


def resnet18(head: str) -> nn.Module:
    """Plain torchvision code, as a user writes it."""
    module = torchvision.models.resnet18(weights=None)
    if head == "swap":
        module.fc = nn.Linear(512, 5)
    else:
        module.fc = nn.Sequential(module.fc, nn.Linear(1000, 5))
    return module


@pytest.mark.parametrize("head", ["swap", "append"])
@pytest.mark.parametrize("plain", [resnet18, vgg16])
def test_exported_state_dict_loads_strictly_in_plain_torchvision_with_the_same_bits(
    plain: object, head: str, tmp_path: Path
):
    ours = tl.build_model(plain.__name__, 5, head=head, weights="none").to(memory_format=torch.channels_last)
    export(
        ours,
        ModelMetadata(f"torchvision:{plain.__name__}", head, 1000, tuple("abcde"), InputSpec()),
        "state-dict",
        tmp_path / "weights.pt",
    )
    theirs = plain(head)
    theirs.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True), strict=True)
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        expected = ours.to(memory_format=torch.contiguous_format).eval()(images)
        assert torch.equal(theirs.eval()(images), expected)


def test_full_model_is_the_librarys_own_module(tiny_run: Run):
    module = torch.load(tiny_run.path / "full_model.pt", weights_only=False)
    assert type(module) is torchvision.models.ResNet
    assert not module.training
    state = torch.load(tiny_run.path / "state_dict.pt", weights_only=True)
    assert all(torch.equal(value, module.state_dict()[key]) for key, value in state.items())


def test_exported_safetensors_predicts_alone(tiny_run: Run, tmp_path: Path):
    path = tmp_path / "mein modell.safetensors"
    export(tiny_run.model.module, tiny_run.model.metadata, "safetensors", path)
    assert tl.load(path).class_names == ("0", "1", "7")


def test_export_over_a_file_refuses(tiny_run: Run):
    with pytest.raises(UsageError, match="exists; nothing is ever overwritten"):
        export(tiny_run.model.module, tiny_run.model.metadata, "state-dict", tiny_run.path / "summary.json")


def test_exported_resnet18_digits_in_torchvisions_layout_gives_its_logits_in_torchvision(tmp_path: Path):
    torch.manual_seed(0)
    module = timm.create_model("resnet18_digits", in_channels=3, num_classes=5).eval()
    metadata = ModelMetadata("timm:resnet18_digits", "swap", 10, tuple("abcde"), InputSpec())
    export(module, metadata, "state-dict", tmp_path / "w.pt", layout="torchvision")
    plain = torchvision.models.resnet18(num_classes=5).eval()
    plain.load_state_dict(torch.load(tmp_path / "w.pt", weights_only=True), strict=True)
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(plain(images), module(images))


@pytest.mark.parametrize(("name", "form"), [("lenet5", "state-dict"), ("resnet18_digits", "full-model")])
def test_export_in_torchvisions_layout_of_what_has_none_refuses(name: str, form: str, tmp_path: Path):
    metadata = ModelMetadata(f"timm:{name}", "swap", 10, tuple("0123456789"), InputSpec())
    with pytest.raises(UsageError, match='layout="torchvision" is for the state-dict of a resnet18_digits, not for'):
        export(timm.create_model(name), metadata, form, tmp_path / "w.pt", layout="torchvision")
