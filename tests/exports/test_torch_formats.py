"""Files for plain PyTorch: what is in them, and what is refused."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from safetensors.torch import load_file
from torch import nn

import tl_toolkit as tl
from tests.helpers.exports import classifier, export_network, noise
from tl_toolkit.errors import ModelError, ToolkitError, UsageError
from tl_toolkit.exports.comparison import CheckBatch
from tl_toolkit.exports.writing import Export
from tl_toolkit.input_spec import InputSpec
from tl_toolkit.io.own_files import PROGRAM_METADATA
from tl_toolkit.model_file import ModelMetadata
from tl_toolkit.recipes.finetune import Run

SMALL = InputSpec(height=64, width=64)
TORCH_FORMATS = ("state-dict", "full-model", "safetensors")


def network(
    arch: str, head: str = "swap", base: int = 1000, spec: InputSpec = SMALL
) -> tuple[nn.Module, ModelMetadata]:
    """A network with random weights, and its metadata."""
    torch.manual_seed(0)
    module = tl.build_model(arch, 3, head=head, weights="none", in_channels=spec.channels)
    library = "torchvision" if hasattr(torchvision.models, arch) else "timm"
    return module, ModelMetadata(f"{library}:{arch}", head, base, ("a", "b", "c"), spec)


@pytest.fixture
def run_note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs the code of a note as its reader does, and returns the model."""

    def run(written: Export) -> nn.Module:
        monkeypatch.chdir(tmp_path)
        names: dict[str, Any] = {}
        exec("\n".join(written.note["code"]), names)
        model: nn.Module = names["model"]
        return model

    return run


@pytest.mark.parametrize(
    ("form", "arch", "head"),
    [
        ("state-dict", "mobilenet_v2", "append"),
        ("full-model", "test_resnet", "swap"),
        ("safetensors", "test_resnet", "append"),
        ("torch-export", "test_resnet", "append"),
    ],
)
def test_code_of_the_note_loads_the_file_with_the_models_outputs(
    form: str, arch: str, head: str, tmp_path: Path, run_note: Any
):
    module, metadata = network(arch, head)
    written = export_network(module, metadata, form, tmp_path / "exported.pt2")
    images = CheckBatch(classifier(module, metadata), noise().images).inputs
    loaded = run_note(written)
    with torch.inference_mode():
        found = loaded(images)
        expected = module.to(memory_format=torch.contiguous_format).eval()(images)
    assert torch.allclose(found, expected, rtol=0, atol=1e-5 if form == "torch-export" else 0)
    assert written.note["network"] == metadata.architecture


@pytest.mark.parametrize("form", TORCH_FORMATS)
@pytest.mark.parametrize("dtype", ["fp16", "bf16"])
def test_half_precision_halves_the_file_and_loads_into_fp32(form: str, dtype: str, tmp_path: Path):
    module, metadata = network("test_resnet")
    whole = export_network(module, metadata, form, tmp_path / "whole.pt")
    half = export_network(module, metadata, form, tmp_path / "half.pt", dtype=dtype)
    assert half.path.stat().st_size < 0.6 * whole.path.stat().st_size
    assert half.comparison is not None
    assert 0 < half.comparison.relative_difference < {"fp16": 0.01, "bf16": 0.1}[dtype]
    if form != "state-dict":
        assert {tensor.dtype for tensor in tl.load(half.path).module.parameters()} == {torch.float32}


def test_half_precision_that_loses_too_much_refuses(tmp_path: Path):
    module, metadata = network("resnet18")
    with torch.no_grad():
        module.fc.bias.add_(1000.0)  # fp16 rounds the logits, which differ by little, to halves.
        module.fc.weight.mul_(1e5)
    with pytest.raises(ToolkitError, match="The full-model gives other outputs than the model on 3 images"):
        export_network(module, metadata, "full-model", tmp_path / "half.pt", dtype="fp16")
    assert list(tmp_path.iterdir()) == []


def test_full_model_of_layers_in_a_row_has_torchs_own_classes_alone(tmp_path: Path):
    module, metadata = network("lenet5", "append", 10, InputSpec(1, 28, 28, (0.0,), (1.0,)))
    path = export_network(module, metadata, "full-model", tmp_path / "m.pt").path
    pickled = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    assert {name.partition(".")[0] for name in pickled} == {"torch"}
    images = torch.rand(2, 1, 28, 28)
    with torch.inference_mode():
        assert torch.equal(torch.load(path, weights_only=False)(images), module.eval()(images))
        assert torch.equal(tl.load(path, precision="fp32").module(images), module(images))


def test_state_dict_in_timms_layout_loads_strictly_in_timm(tmp_path: Path, run_note: Any):
    module, metadata = network("mobilenet_v2", "append")
    written = export_network(module, metadata, "state-dict", tmp_path / "t.pth", layout="timm")
    assert written.note["network"] == "timm:mobilenetv2_100"
    assert "conv_stem.weight" in torch.load(written.path, weights_only=True)
    images = torch.rand(2, 3, 64, 64)
    with torch.inference_mode():
        assert torch.allclose(run_note(written)(images), module.eval()(images), atol=1e-5)


def test_layout_of_the_networks_own_library_is_its_own(tmp_path: Path):
    module, metadata = network("resnet18")
    written = export_network(module, metadata, "state-dict", tmp_path / "t.pth", layout="torchvision")
    assert written.comparison is not None
    assert written.comparison.identical
    assert list(torch.load(written.path, weights_only=True)) == list(module.state_dict())


def test_state_dict_keeps_the_versions_of_modules_that_torchvision_asks_for(tmp_path: Path, run_note: Any):
    module, metadata = network("mnasnet0_5")
    written = export_network(module, metadata, "state-dict", tmp_path / "m.pth", dtype="fp16")
    assert run_note(written).classifier[1].out_features == 3


def test_torch_export_takes_batches_of_any_size_and_holds_the_metadata(tmp_path: Path):
    module, metadata = network("test_resnet")
    written = export_network(module, metadata, "torch-export", tmp_path / "m.pt2")
    inside = {PROGRAM_METADATA: ""}
    program = torch.export.load(tmp_path / "m.pt2", extra_files=inside).module()
    assert ModelMetadata.from_metadata(json.loads(inside[PROGRAM_METADATA])) == metadata
    assert written.note["input"] == ["N", 3, 64, 64]
    for images in (1, 2, 7):
        inputs = torch.rand(images, 3, 64, 64)
        with torch.inference_mode():
            assert torch.allclose(program(inputs), module.eval()(inputs), atol=1e-5)


class Branching(nn.Module):
    """A network whose operations depend on the values of its input."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features = images.mean(dim=(2, 3))
        logits: torch.Tensor = self.fc(features if features.sum() > 0 else -features)
        return logits


def test_torch_export_of_what_cannot_be_traced_says_why_and_leaves_nothing(tmp_path: Path):
    metadata = ModelMetadata("torchvision:resnet18", "swap", 1000, ("a", "b", "c"), SMALL)
    with pytest.raises(ModelError, match=r"torch\.export cannot make a program of torchvision:resnet18: .*format\.$"):
        export_network(Branching(), metadata, "torch-export", tmp_path / "m.pt2")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("form", "options", "message"),
    [
        ("torch-export", {"dtype": "fp16"}, 'torch-export has weights of fp32, not dtype="fp16".'),
        ("backbone", {"dtype": "bf16"}, 'backbone has weights of fp32, not dtype="bf16".'),
        ("full-model", {"layout": "timm"}, 'full-model has the layout own of the weights\' names, not layout="timm".'),
        ("state-dict", {"dtype": "int8"}, 'state-dict has weights of fp32, fp16, bf16, not dtype="int8".'),
    ],
)
def test_option_that_a_format_has_not_is_refused(form: str, options: dict[str, str], message: str, tmp_path: Path):
    metadata = ModelMetadata("torchvision:resnet18", "swap", 1000, ("a", "b", "c"), SMALL)
    with pytest.raises(UsageError, match=f"^{re.escape(message)}$"):
        export_network(nn.Linear(1, 1), metadata, form, tmp_path / "x", **options)


def test_tensors_tagged_as_of_a_gpu_load_by_map_location(
    tiny_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """As a file that was saved on a machine with a GPU, of which the tags are simulated."""
    module = torch.load(tiny_run.path / "full_model.pt", weights_only=False)
    with monkeypatch.context() as patched:
        patched.setattr(torch.serialization, "location_tag", lambda _: "cuda:0")
        torch.save(module, tmp_path / "SavedModule.pth")
        torch.save(module.state_dict(), tmp_path / "SavedStateDict.pth")
    if not torch.cuda.is_available():
        for name in ("SavedModule.pth", "SavedStateDict.pth"):
            with pytest.raises(RuntimeError, match="Attempting to deserialize object on a CUDA device"):
                torch.load(tmp_path / name, weights_only=False)
    theirs = torch.load(tmp_path / "SavedModule.pth", weights_only=False, map_location=torch.device("cpu"))
    theirs.load_state_dict(torch.load(tmp_path / "SavedStateDict.pth", map_location="cpu"))
    expected = module.fc.weight
    assert torch.equal(theirs.fc.weight, expected)
    assert torch.equal(tl.load(tmp_path / "SavedModule.pth", device="cpu").module.fc.weight, expected)
    reused = tl.build_model("resnet18", 5, head="append", weights=str(tmp_path / "SavedStateDict.pth"))
    assert torch.equal(reused.fc[0].weight, expected)
    again = tl.export(tmp_path / "SavedModule.pth", "safetensors", out=tmp_path / "m.safetensors")
    assert torch.equal(load_file(again.path)["fc.weight"], expected)


@pytest.mark.parametrize("name", ["mobilenet_v2", pytest.param("vgg16", marks=pytest.mark.slow)])
def test_lines_of_the_tutorial_load_exported_files(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    module = tl.build_model(name, 10, head="append", weights="none")
    metadata = ModelMetadata(f"torchvision:{name}", "append", 1000, tuple("0123456789"), SMALL)
    export_network(module, metadata, "full-model", tmp_path / "SavedModule.pth")
    export_network(module, metadata, "state-dict", tmp_path / "SavedStateDict.pth")
    monkeypatch.chdir(tmp_path)
    images = torch.rand(2, 3, 64, 64)
    with torch.inference_mode():
        expected = module.to(memory_format=torch.contiguous_format).eval()(images)

        model = torch.load("SavedModule.pth", weights_only=False)
        assert torch.equal(model.eval()(images), expected)

        model = getattr(torchvision.models, name)()
        model.classifier.add_module("Linear", torch.nn.Linear(1000, 10)); model.load_state_dict(torch.load("SavedStateDict.pth"))  # noqa: E501, E702  # fmt: skip
        assert torch.equal(model.eval()(images), expected)
