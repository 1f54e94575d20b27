"""The backbone of a model as the start of another fine-tune."""

from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import nn

import tl_toolkit as tl
from tests.helpers.exports import export_network
from tests.helpers.terminal import run_tl
from tl_toolkit.errors import ModelFileError, WeightsError
from tl_toolkit.exports.writing import Export
from tl_toolkit.input_spec import InputSpec
from tl_toolkit.model_file import ModelMetadata
from tl_toolkit.models.backbones import resolve_arch
from tl_toolkit.models.weights.resolve import WeightsRequest, load_backbone
from tl_toolkit.recipes.finetune import Run

SMALL = InputSpec(height=64, width=64, mean=(0.4, 0.4, 0.4))
NETWORK = "timm:test_resnet"


def write(head: str, tmp_path: Path, arch: str = NETWORK) -> tuple[nn.Module, Export]:
    torch.manual_seed(0)
    module = tl.build_model(arch, 3, head=head, weights="none")
    classes = module.num_classes if head == "append" else 1000
    metadata = ModelMetadata(arch, head, classes, ("a", "b", "c"), SMALL)
    return module, export_network(module, metadata, "backbone", tmp_path / "b.safetensors")


@pytest.mark.parametrize(("head", "left_out"), [("swap", "fc"), ("mlp", "fc"), ("append", "fc.1")])
def test_backbone_has_everything_but_the_head_and_gives_its_features(head: str, left_out: str, tmp_path: Path):
    module, written = write(head, tmp_path)
    assert written.comparison is not None
    assert written.comparison.identical
    assert written.note["left_out"] == [left_out]
    with safe_open(written.path, framework="pt") as file:
        names = set(file.keys())
    own = {name for name in module.state_dict() if not name.startswith(f"{left_out}.")}
    assert names == {name.replace("fc.0.", "fc.") for name in own}
    assert ("fc.weight" in names) == (head == "append")


def test_backbone_starts_a_fine_tune_with_its_weights_and_its_input(tmp_path: Path):
    module, written = write("swap", tmp_path)
    loaded = load_backbone(WeightsRequest(resolve_arch(NETWORK), str(written.path)))
    assert loaded.input_spec == SMALL
    assert loaded.warnings == []
    assert loaded.origin == f"{written.path} (a backbone that was trained on 3 classes)"
    again = tl.build_model(NETWORK, 7, weights=str(written.path))
    for name, tensor in again.state_dict().items():
        assert name.startswith("fc.") or torch.equal(tensor, module.state_dict()[name])


def test_backbone_of_an_appended_head_starts_with_the_classifier_before_it(tmp_path: Path):
    module, written = write("append", tmp_path)
    again = tl.build_model(NETWORK, 7, head="append", weights=str(written.path))
    assert torch.equal(again.fc[0].weight, module.fc[0].weight)


def test_append_to_a_backbone_without_classifier_refuses(tmp_path: Path):
    _, written = write("swap", tmp_path)
    with pytest.raises(WeightsError, match=r'is a backbone without a classifier, and head="append" adds a layer after'):
        tl.build_model(NETWORK, 7, head="append", weights=str(written.path))


def test_backbone_of_another_network_refuses(tmp_path: Path):
    _, written = write("swap", tmp_path)
    with pytest.raises(WeightsError, match=r"holds weights of timm:test_resnet, not of torchvision:resnet18\."):
        tl.build_model("resnet18", 7, weights=str(written.path))


def test_prediction_by_a_backbone_refuses(tmp_path: Path):
    _, written = write("swap", tmp_path)
    with pytest.raises(ModelFileError, match=r"it has no class names\. Weights alone can be trained with: tl finetune"):
        tl.load(written.path)


def test_finetune_from_a_backbone_says_where_it_begins(tiny_run: Run, tiny_data: Path, tmp_path: Path):
    file = tmp_path / "b.safetensors"
    assert run_tl("export", tiny_run.path, "--to", "backbone", "--out", file).exit_code == 0
    settings = ("--tune", "linear-probe", "--views", "1", "--out", tmp_path / "run")
    done = run_tl("finetune", tiny_data, "--arch", "resnet18", "--weights", file, *settings)
    assert done.exit_code == 0, done.output
    assert "a backbone that was trained on 3 classes" in " ".join(done.output.split())
    assert tl.load(tmp_path / "run").input_spec == tiny_run.model.input_spec
