import dataclasses
import hashlib
import json
import shutil
from pathlib import Path

import pytest
import timm
import torch
import torchvision
from torch import nn

import tl_toolkit as tl
from tests.helpers.exports import classifier, export_network
from tl_toolkit.errors import ToolkitError, UsageError
from tl_toolkit.events import Event, WarningEvent
from tl_toolkit.exports.base import ExportRequest
from tl_toolkit.exports.state_dict import StateDict
from tl_toolkit.exports.writing import save_torch
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
    export_network(
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
    export_network(tiny_run.model.module, tiny_run.model.metadata, "safetensors", path)
    assert tl.load(path).class_names == ("0", "1", "7")


def test_export_over_a_file_refuses(tiny_run: Run):
    with pytest.raises(UsageError, match=r"exists. Choose another out, or replace it by force=True\."):
        export_network(tiny_run.model.module, tiny_run.model.metadata, "state-dict", tiny_run.path / "summary.json")


def test_exported_resnet18_digits_in_torchvisions_layout_gives_its_logits_in_torchvision(tmp_path: Path):
    torch.manual_seed(0)
    module = timm.create_model("resnet18_digits", in_channels=3, num_classes=5).eval()
    metadata = ModelMetadata("timm:resnet18_digits", "swap", 10, tuple("abcde"), InputSpec())
    export_network(module, metadata, "state-dict", tmp_path / "w.pt", layout="torchvision")
    plain = torchvision.models.resnet18(num_classes=5).eval()
    plain.load_state_dict(torch.load(tmp_path / "w.pt", weights_only=True), strict=True)
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(plain(images), module(images))


@pytest.mark.parametrize(("name", "form"), [("lenet5", "state-dict"), ("resnet18_digits", "full-model")])
def test_export_in_torchvisions_layout_of_what_has_none_refuses(name: str, form: str, tmp_path: Path):
    metadata = ModelMetadata(f"timm:{name}", "swap", 10, tuple("0123456789"), InputSpec())
    with pytest.raises(UsageError, match="layout.*torchvision"):
        export_network(timm.create_model(name), metadata, form, tmp_path / "w.pt", layout="torchvision")


def test_export_that_gives_other_outputs_leaves_nothing(tiny_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def write(self: StateDict, request: ExportRequest, path: Path) -> dict[str, str]:
        state = request.model.module.state_dict()
        state["fc.bias"][0] += 0.5
        save_torch(state, path)
        return {}

    monkeypatch.setattr(StateDict, "write", write)
    with pytest.raises(
        ToolkitError, match=r"gives other outputs than the model on 3 images \(noise\): they differ by up to 0\.5"
    ):
        export_network(tiny_run.model.module, tiny_run.model.metadata, "state-dict", tmp_path / "w.pt")
    assert list(tmp_path.iterdir()) == []


def test_export_writes_a_note_of_what_is_in_the_file(tiny_run: Run, tmp_path: Path):
    path = tmp_path / "mein modell.pt"
    written = export_network(tiny_run.model.module, tiny_run.model.metadata, "state-dict", path)
    note = json.loads((tmp_path / "mein modell.pt.json").read_text(encoding="utf-8"))
    assert note == json.loads(json.dumps(written.note))
    assert note["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (note["format"], note["model"]["class_names"]) == ("state-dict", ["0", "1", "7"])
    assert note["model"]["input_spec"]["height"] == tiny_run.model.input_spec.height
    assert note["comparison"]["identical"] is True
    assert note["comparison"]["images"] == 3


def test_export_of_a_run_compares_on_its_own_images_beside_the_model(tiny_run: Run, tmp_path: Path):
    shutil.copy(tiny_run.path / "model.safetensors", tmp_path)
    written = tl.export(tmp_path / "model.safetensors", "full-model")
    assert written.path == tmp_path / "full_model.pt"
    assert written.comparison is not None
    assert (written.comparison.identical, written.comparison.source) == (True, "test of zeros ünd ones")
    with pytest.raises(UsageError, match=r"full_model\.pt exists"):
        tl.export(tmp_path / "model.safetensors", "full-model")
    tl.export(tmp_path / "model.safetensors", "full-model", force=True)


def test_export_without_the_images_of_the_run_says_so_and_takes_digits(tiny_run: Run, tmp_path: Path):
    metadata = dataclasses.replace(tiny_run.model.metadata, training={"data": str(tmp_path / "gone")})
    model = classifier(tiny_run.model.module, metadata)
    told: list[Event] = []
    written = tl.export(model, "state-dict", out=tmp_path / "w.pt", callback=told.append)
    assert written.comparison is not None
    assert (written.comparison.images, written.comparison.source) == (32, "the digits that come with tl")
    assert [type(event) for event in told] == [WarningEvent]
    assert "The images of the run cannot be used to check the file: " in told[0].message


def test_compare_without_a_readable_image_refuses(tiny_run: Run, tmp_path: Path):
    (tmp_path / "no.jpg").write_text("no image")
    with pytest.raises(ToolkitError, match=r"None of the images of .*no\.jpg can be read, so nothing can be compared"):
        tl.export(tiny_run.path, "state-dict", out=tmp_path / "w.pt", verify=tmp_path / "no.jpg")
