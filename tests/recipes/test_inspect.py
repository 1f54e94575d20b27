"""What is inside files of models, told without running anything in them."""

import argparse
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn

import tl_toolkit as tl
from tests.helpers.pickles import Called
from tl_toolkit.errors import ModelFileError, UsageError, WeightsError
from tl_toolkit.io.own_files import CHECKPOINT_FILE, MODEL_FILE
from tl_toolkit.recipes.finetune import Run
from tl_toolkit.recipes.inspect import Inspection

NETWORK = "a network of torch.save (a full model)"


def resnet() -> nn.Module:
    torch.manual_seed(0)
    return timm.create_model("test_resnet", num_classes=3).eval()


def described(found: Inspection) -> dict[str, tuple[str, tuple[int, ...]]]:
    return {each.name: (each.dtype, each.shape) for each in found.tensors}


def expected(state: dict[str, torch.Tensor], prefix: str = "") -> dict[str, tuple[str, tuple[int, ...]]]:
    types = {f"{prefix}{key}": str(value.dtype).removeprefix("torch.") for key, value in state.items()}
    return {name: (types[name], tuple(state[name.removeprefix(prefix)].shape)) for name in types}


def saved(thing: Any, folder: Path, **options: Any) -> Path:
    torch.save(thing, folder / "file.pth", **options)
    return folder / "file.pth"


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_inspect_of_a_state_dict_lists_its_tensors(zipped: bool, dtype: torch.dtype, tmp_path: Path):
    state = resnet().to(dtype).state_dict()
    found = tl.inspect(saved(state, tmp_path, _use_new_zipfile_serialization=zipped))
    assert found.content.format == "a state_dict of torch.save"
    assert described(found) == expected(state)
    assert found.numbers == sum(value.numel() for value in state.values())
    assert (found.arch, found.class_names, found.metadata, found.code) == ("", (), None, "")


@pytest.mark.parametrize("build", [resnet, lambda: torchvision.models.resnet18(num_classes=3)])
def test_inspect_of_a_network_lists_the_tensors_of_its_state_dict(build: Any, tmp_path: Path):
    module = build()
    found = tl.inspect(saved(module, tmp_path))
    assert found.content.format == NETWORK
    assert described(found) == expected(module.state_dict())
    assert found.content.facts["class"] == f"{type(module).__module__}.{type(module).__name__}"
    assert found.arch == ("timm:test_resnet" if build is resnet else "")
    assert found.code == ""


def test_inspect_of_a_checkpoint_lists_its_entries_and_its_weights(tmp_path: Path):
    state = {f"module.{key}": value for key, value in resnet().state_dict().items()}
    checkpoint = {"epoch": 3, "arch": "resnet18", "args": argparse.Namespace(lr=0.1), "state_dict": state}
    found = tl.inspect(saved(checkpoint, tmp_path))
    assert found.content.format == "a checkpoint of torch.save"
    assert found.content.facts == {
        "entries": f"epoch: 3; arch: 'resnet18'; args: argparse.Namespace (lr); state_dict: {len(state)} tensors",
        "weights in": "state_dict",
        "prefix": "module. of every name",
    }
    assert (found.arch, described(found)) == ("resnet18", expected(state))


def test_inspect_of_torchscript_and_of_a_plain_pickle_lists_their_tensors(tmp_path: Path):
    module = resnet()
    names = {key for key in module.state_dict() if "num_batches_tracked" not in key}
    (tmp_path / "plain.pkl").write_bytes(pickle.dumps(module))
    plain = tl.inspect(tmp_path / "plain.pkl")
    assert described(plain) == expected(module.state_dict())
    assert plain.code.startswith("it is a plain pickle that names timm.models.")
    with pytest.warns(FutureWarning, match="deprecated"):
        torch.jit.save(torch.jit.trace(module, torch.zeros(1, 3, 32, 32)), tmp_path / "script.pt")
    script = tl.inspect(tmp_path / "script.pt")
    assert (script.content.format, script.code) == ("TorchScript, a program", "it is a TorchScript program")
    assert {each.name for each in script.tensors} >= names


def test_inspect_of_a_file_that_would_run_code_runs_nothing_and_says_so(in_folder: Path):
    file = saved({"state_dict": resnet().state_dict(), "x": Called(os.mkdir, "ran")}, in_folder)
    found = tl.inspect(file)
    assert not (in_folder / "ran").exists()
    assert found.code == f"it calls {os.mkdir.__module__}.mkdir"
    assert found.content.facts["entries"].endswith(f"x: {os.mkdir.__module__}.mkdir")
    assert len(found.tensors) == len(resnet().state_dict())


def test_inspect_of_a_run_says_all_that_its_header_does(judged_run: Run):
    found = tl.inspect(judged_run.path)
    known = tl.load(judged_run.path).metadata
    assert found.path == judged_run.path / MODEL_FILE
    assert (found.content.format, found.arch) == ("safetensors, a model that tl wrote", "timm:test_resnet")
    assert (found.metadata, tuple(found.class_names), found.problems) == (known, known.class_names, ())
    plain = found.to_dict()
    assert plain["input_spec"] == known.input_spec.to_dict()
    assert plain["class_names"] == list(known.class_names)
    assert len(plain["tensors"]) == len(judged_run.model.module.state_dict())
    json.dumps(plain)


def test_inspect_of_a_full_model_and_of_a_checkpoint_of_tl(judged_run: Run, tiny_run: Run):
    full = tl.inspect(judged_run.path / "full_model.pt")
    assert (full.arch, tuple(full.class_names)) == ("timm:test_resnet", judged_run.model.class_names)
    state = tl.inspect(judged_run.path / "state_dict.pt")
    assert state.note is not None
    assert (state.arch, tuple(state.class_names)) == ("timm:test_resnet", judged_run.model.class_names)
    checkpoint = tl.inspect(tiny_run.path / CHECKPOINT_FILE)
    assert checkpoint.content.format == "safetensors, the checkpoint of a run"
    assert checkpoint.content.facts["stage"].startswith("tune, after step ")


def test_inspect_of_a_backbone_says_what_it_was_trained_on(judged_run: Run, tmp_path: Path):
    exported = tl.export(judged_run.path, "backbone", out=tmp_path / "backbone.safetensors")
    found = tl.inspect(exported.path)
    assert (found.content.format, found.arch) == (
        "safetensors, a network without its head that tl wrote",
        "timm:test_resnet",
    )
    assert found.content.facts == {"origin": "a backbone that was trained on 3 classes"}
    assert (found.metadata, found.problems) == (None, ())
    with pytest.raises(WeightsError, match="backbone.safetensors has no classifier: no fc.weight; its last tensors"):
        tl.import_model(exported.path, class_names=("a", "b", "c"))


def test_inspect_of_a_changed_file_says_that_it_is_damaged(judged_run: Run, tmp_path: Path):
    content = bytearray((judged_run.path / MODEL_FILE).read_bytes())
    content[-5] ^= 1
    (tmp_path / "changed.safetensors").write_bytes(content)
    [problem] = tl.inspect(tmp_path / "changed.safetensors").problems
    assert problem.startswith("The file cannot be used: it is damaged: the digest of its content is ")


def test_inspect_says_that_a_note_is_of_another_file(judged_run: Run, tmp_path: Path):
    file = saved(resnet().state_dict(), tmp_path)
    (tmp_path / "file.pth.json").write_bytes((judged_run.path / "state_dict.pt.json").read_bytes())
    found = tl.inspect(file)
    assert found.note is None
    assert "file.pth.json is the note of another file" in found.problems[0]


def test_inspect_of_weights_of_timms_hub_takes_what_lies_beside_them(tmp_path: Path):
    save_file(resnet().state_dict(), tmp_path / "model.safetensors", {"format": "pt"})
    config = {"architecture": "test_resnet", "label_names": ["ant", "bee", "cat"]}
    (tmp_path / "config.json").write_text(json.dumps(config))
    found = tl.inspect(tmp_path)
    assert (found.content.format, found.arch) == ("safetensors", "timm:test_resnet")
    assert tuple(found.class_names) == ("ant", "bee", "cat")


def test_inspect_of_a_program_names_its_inputs_and_outputs(tmp_path: Path):
    module = resnet()
    shapes = ({0: torch.export.Dim("N")},)
    program = torch.export.export(module, (torch.zeros(2, 3, 32, 32),), dynamic_shapes=shapes)
    torch.export.save(program, tmp_path / "model.pt2")
    found = tl.inspect(tmp_path / "model.pt2")
    assert described(found) == expected(module.state_dict())
    assert found.content.facts["inputs"] == "x float32 N x 3 x 32 x 32"
    assert found.content.facts["outputs"].endswith(" float32 N x 3")


def onnx_file(folder: Path) -> Path:
    """A graph of one layer."""
    onnx = pytest.importorskip("onnx")
    weights = onnx.numpy_helper.from_array(torch.ones(4, 3).numpy(), "weights")
    node = onnx.helper.make_node("MatMul", ["features", "weights"], ["logits"])
    values = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["N", size])
        for name, size in (("features", 4), ("logits", 3))
    ]
    graph = onnx.helper.make_graph([node], "graph", values[:1], values[1:], [weights])
    model = onnx.helper.make_model(graph, producer_name="hand", opset_imports=[onnx.helper.make_opsetid("", 20)])
    onnx.save(model, folder / "model.onnx")
    return folder / "model.onnx"


def test_inspect_of_onnx_names_its_inputs_outputs_and_operators(tmp_path: Path):
    found = tl.inspect(onnx_file(tmp_path))
    assert found.content.format == "ONNX"
    assert described(found) == {"weights": ("float32", (4, 3))}
    assert found.content.facts == {
        "opset": "ai.onnx 20",
        "producer": "hand",
        "inputs": "features float32 N x 4",
        "outputs": "logits float32 N x 3",
        "operators": "1 of 1 kinds: MatMul",
    }


def test_inspect_of_files_of_others_imports_no_torch(tmp_path: Path):
    files = [saved(resnet().state_dict(), tmp_path), onnx_file(tmp_path)]
    save_file(resnet().state_dict(), tmp_path / "weights.safetensors")
    code = "import sys\nimport tl_toolkit as tl\nfor f in sys.argv[1:]: tl.inspect(f)\nprint('torch' in sys.modules)"
    command = [sys.executable, "-c", code, *map(str, files), str(tmp_path / "weights.safetensors")]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "False\n"


def test_inspect_of_a_file_that_is_cut_off_says_so(judged_run: Run, tmp_path: Path):
    program = torch.export.export(nn.Linear(4, 3), (torch.zeros(2, 4),))
    torch.export.save(program, tmp_path / "whole.pt2")
    files = {
        "a.safetensors": (judged_run.path / MODEL_FILE, "is no whole safetensors file: it is damaged: "),
        "a.pth": (saved(resnet().state_dict(), tmp_path), "is no whole file of torch.save: it is damaged: its end is"),
        "a.pt2": (tmp_path / "whole.pt2", "is no whole archive of torch.export: it is damaged: File is not a zip"),
        "a.onnx": (onnx_file(tmp_path), "is no whole ONNX file: it is damaged: "),
    }
    for name, (whole, message) in files.items():
        content = whole.read_bytes()
        (tmp_path / name).write_bytes(content[: len(content) * 2 // 3])
        with pytest.raises(ModelFileError) as caught:
            tl.inspect(tmp_path / name)
        assert str(caught.value).startswith(f"{tmp_path / name} {message}")


def test_inspect_of_something_else_says_what_it_is(tmp_path: Path, photos: Path):
    (tmp_path / "notes.txt").write_text("These are only words.")
    (tmp_path / "empty.pth").touch()
    with pytest.raises(UsageError, match="notes.txt is a text file: nothing in it is a model."):
        tl.inspect(tmp_path / "notes.txt")
    with pytest.raises(ModelFileError, match="empty.pth is no file of a model: expected a safetensors file"):
        tl.inspect(tmp_path / "empty.pth")
    with pytest.raises(UsageError, match="photos has no model.safetensors."):
        tl.inspect(photos)
    with pytest.raises(UsageError, match="There is no model 'nowhere'."):
        tl.inspect("nowhere")


class Refilled:
    """A tensor whose pickle then sets what stands for it to something else."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (*torch.zeros(2).__reduce_ex__(2)[:2], ("name", "float32", "big"))


def test_inspect_of_a_pickle_that_fills_tensors_says_that_it_is_damaged(tmp_path: Path):
    with pytest.raises(ModelFileError, match="it is damaged: it has a tensor of the shape 'big'."):
        tl.inspect(saved({"a": Refilled(), "b": torch.zeros(2)}, tmp_path))


def test_inspect_of_a_module_that_is_its_own_part_ends(tmp_path: Path):
    module = nn.Sequential(nn.Linear(2, 2))
    for _ in range(60):
        module = nn.Sequential(module, module)
    found = tl.inspect(saved(module, tmp_path))
    assert found.content.format == NETWORK
