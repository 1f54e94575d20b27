import dataclasses
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from PIL import Image
from torch import nn
from typer.testing import CliRunner

import tl_toolkit as tl
from tests.helpers.exports import classifier, export_network, noise
from tl_toolkit.cli.main import app
from tl_toolkit.errors import ModelError, ToolkitError, UsageError
from tl_toolkit.exports import onnx_graph
from tl_toolkit.exports.comparison import CheckImages
from tl_toolkit.exports.onnx_graph import OPSET, network_graph
from tl_toolkit.exports.writing import Export, export_model, note_path
from tl_toolkit.input_spec import InputSpec
from tl_toolkit.model_file import ModelMetadata
from tl_toolkit.recipes.finetune import Run

THREE = ModelMetadata("timm:lenet5", "swap", 10, ("a", "b", "c"), InputSpec(height=16, width=16))


class Told(NamedTuple):
    """A file, the note beside it, and what `tl export` printed."""

    path: Path
    note: dict[str, Any]
    rows: list[list[str]]


@pytest.fixture(scope="module")
def written(judged_run: Run, tmp_path_factory: pytest.TempPathFactory) -> Told:
    """The file of a run that knows which images are unlike those of training."""
    out = tmp_path_factory.mktemp("onnx") / "model.onnx"
    done = CliRunner().invoke(app, ["export", str(judged_run.path), "--to", "onnx", "--out", str(out)])
    assert done.exit_code == 0, done.output
    rows = [line.split(maxsplit=1) for line in done.stdout.splitlines()]
    return Told(out, json.loads(note_path(out).read_text(encoding="utf-8")), rows)


@pytest.fixture(scope="module")
def inside(judged_run: Run, tmp_path_factory: pytest.TempPathFactory) -> Export:
    """The same with the preprocessing inside."""
    out = tmp_path_factory.mktemp("inside") / "modell ü.onnx"
    return tl.export(judged_run.path, "onnx", out=out, with_preprocessing=True)


def linear(classes: int = 3) -> nn.Module:
    """The smallest network."""
    torch.manual_seed(0)
    return nn.Sequential(nn.AvgPool2d(4), nn.Flatten(), nn.Linear(48, classes))


def test_exported_onnx_gives_logits_and_features_for_any_batch(written: Told, judged_run: Run):
    session = onnxruntime.InferenceSession(written.path)
    model = tl.load(judged_run.path, device="cpu", precision="fp32")
    inputs = torch.stack([model.transform(image) for image in noise(5).images])
    logits, features = model.outputs(inputs)
    for batch in (1, 5):
        found = session.run(["logits", "features"], {"images": inputs[:batch].numpy()})
        assert np.allclose(found[0], logits[:batch], atol=1e-5)
        assert np.allclose(found[1], features[:batch], atol=1e-5)
    compared = written.note["comparison"]
    assert compared["max_difference"] <= 1e-4 * max(1, compared["largest_output"])
    assert compared["top1_agreement"] == 1


def test_exported_onnx_carries_the_metadata_of_the_model_but_no_list_of_images(written: Told, judged_run: Run):
    model = onnx.load(written.path)
    onnx.checker.check_model(model, full_check=True)
    found = {each.key: each.value for each in model.metadata_props}
    expected = dataclasses.replace(judged_run.model.metadata, split_note=None)
    assert ModelMetadata.from_metadata(json.loads(found["tl_toolkit"])) == expected
    assert found["tl_toolkit.preprocessing"] == "outside"
    assert json.loads(found["class_names"]) == ["0", "1", "7"]
    assert [(each.domain, each.version) for each in model.opset_import] == [("", OPSET)]
    assert written.note["opset"] == OPSET
    assert written.note["inputs"] == {"images": "float32 (batch, 3, 32, 32)"}
    assert written.note["outputs"] == {"logits": "float32 (batch, 3)", "features": "float32 (batch, 96)"}


def test_exported_onnx_names_no_file_of_this_machine(written: Told):
    content = written.path.read_bytes()
    assert not [path for path in (b"site-packages", b"exports/onnx", os.fsencode(Path.home())) if path in content]


def test_onnx_with_preprocessing_answers_as_tl_predict_for_images_of_any_size(
    inside: Export, judged_run: Run, tiny_data: Path
):
    session = onnxruntime.InferenceSession(inside.path)
    assert session.get_outputs()[0].name == "probabilities"
    images = [Image.open(path).convert("RGB") for path in sorted(tiny_data.glob("test/*/*.png"))]
    images += [image.resize((50 + 40 * index, 300)) for index, image in enumerate(images[::3])]
    model = tl.load(judged_run.path, device="cpu", precision="fp32")
    for image in images:
        shares = session.run(["probabilities"], {"images": np.asarray(image)[None]})[0][0]
        expected = {each.class_name: each.probability for each in model.predict(image).top_k}
        assert np.allclose(shares, [expected[name] for name in model.class_names], atol=0.01)
    assert inside.note["inputs"] == {"images": "uint8 (batch, height, width, 3)"}
    assert list(inside.note["outputs"]) == ["probabilities", "logits", "features"]


ALONE = """
import sys
class Blocked:
    def find_spec(self, name, *rest):
        if name.partition(".")[0] in ("torch", "torchvision", "timm", "tl_toolkit", "onnx"):
            raise ImportError(name)
sys.meta_path.insert(0, Blocked())
"""


def run_alone(lines: list[str], folder: Path) -> str:
    """What a program prints that knows only ONNX Runtime, NumPy and Pillow."""
    program = [sys.executable, "-c", "\n".join([ALONE, *lines])]
    return subprocess.run(program, capture_output=True, text=True, check=True, cwd=folder).stdout


def test_code_of_the_note_is_a_whole_program_with_onnx_runtime_alone(inside: Export, judged_run: Run, tiny_data: Path):
    image = min((tiny_data / "test" / "7").iterdir())
    shutil.copy(image, inside.path.parent / "cat.png")
    name, share = run_alone(inside.note["code"], inside.path.parent).split()
    best = tl.load(judged_run.path, device="cpu", precision="fp32").predict(image)
    assert (name, float(share)) == (best.class_name, pytest.approx(best.probability, abs=2e-3))
    page = (Path(__file__).parents[2] / "docs" / "exports.md").read_text(encoding="utf-8")
    code = re.findall(r"```py\n(.*?)```", page.partition("\n## ONNX\n")[2], re.DOTALL)[0]
    assert [line for line in code.splitlines() if line] == [
        line.replace(inside.path.name, "photos.onnx").replace("'photos.onnx'", '"photos.onnx"')
        for line in inside.note["code"]
    ]


def test_code_of_the_note_gives_logits_of_a_plain_file(written: Told):
    assert run_alone([*written.note["code"], "print(logits.shape)"], written.path.parent) == "(1, 3)\n"


@pytest.mark.parametrize("with_preprocessing", [False, True])
def test_fp16_has_half_the_size_and_takes_and_gives_fp32(with_preprocessing: bool, tmp_path: Path):
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 32, 5), nn.BatchNorm2d(32), nn.ReLU(), nn.Flatten(), nn.Linear(4608, 3))
    half = export_network(
        module, THREE, "onnx", tmp_path / "m.onnx", dtype="fp16", with_preprocessing=with_preprocessing
    )
    weights = [tensor for tensor in onnx.load(half.path).graph.initializer if np.prod(tensor.dims) > 256]
    assert {onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type) for tensor in weights} == {np.dtype(np.float16)}
    assert half.note["outputs"]["logits"] == "float32 (batch, 3)"
    assert half.comparison is not None
    assert 0 < half.comparison.max_difference <= 1e-2 * max(1, half.comparison.largest)


def test_onnx_that_answers_otherwise_is_an_error_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def other(*args: object) -> onnx.ModelProto:
        graph = network_graph(*args)
        bias = next(tensor for tensor in graph.graph.initializer if list(tensor.dims) == [3])
        values = onnx.numpy_helper.to_array(bias) + np.array([0, 0, 0.01], np.float32)
        bias.CopyFrom(onnx.numpy_helper.from_array(values, bias.name))
        return graph

    monkeypatch.setattr(onnx_graph, "network_graph", other)
    with pytest.raises(
        ToolkitError, match=r"other outputs than the model on 3 images \(noise\): they differ by up to 0"
    ):
        export_network(linear(), THREE, "onnx", tmp_path / "m.onnx")
    assert list(tmp_path.iterdir()) == []


def test_tolerance_grows_with_the_outputs(tmp_path: Path):
    module = linear()
    with torch.no_grad():
        module[2].weight *= 1e6
    written = export_network(module, THREE, "onnx", tmp_path / "m.onnx")
    assert written.comparison is not None
    assert written.comparison.max_difference > 1e-4
    assert written.comparison.describe().startswith("the same class for all 3 images; of outputs up to ")


class Branching(nn.Module):
    """What it computes depends on the pixels."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        rows = images.flatten(1)[:, :3]
        return rows * 2 if rows.sum() > 0 else rows


def test_network_that_the_exporter_cannot_write_is_an_error_in_one_line(tmp_path: Path):
    with pytest.raises(ModelError) as raised:
        export_network(Branching(), THREE, "onnx", tmp_path / "m.onnx")
    message = str(raised.value)
    assert message.startswith("torch.onnx cannot write timm:lenet5: Could not guard on data-dependent expression")
    assert "\n" not in message
    assert list(tmp_path.iterdir()) == []


def test_network_too_large_for_one_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(onnx_graph, "LARGEST_FILE", 500)
    message = (
        r"The weights of timm:lenet5 have 588 B, and an ONNX file holds 500 B: choose dtype=.fp16., or the format "
        r"safetensors\."
    )
    with pytest.raises(ModelError, match=message):
        export_network(linear(), THREE, "onnx", tmp_path / "m.onnx")
    export_network(linear(), THREE, "onnx", tmp_path / "m.onnx", dtype="fp16")


def test_onnx_refuses_what_it_does_not_have(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(UsageError, match=r"onnx has weights of fp32.*, not dtype=.bf16"):
        export_network(linear(), THREE, "onnx", tmp_path / "m.onnx", dtype="bf16")
    with pytest.raises(UsageError, match="onnx has the layout own of the weights' names, not layout=.timm"):
        export_network(linear(), THREE, "onnx", tmp_path / "m.onnx", layout="timm")
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnxscript" else real(name))
    needs = r"The export format onnx needs the package onnxscript: pip install 'tl_toolkit\[onnx\]'\."
    with pytest.raises(UsageError, match=needs):
        export_network(linear(), THREE, "onnx", tmp_path / "m.onnx")
    assert list(tmp_path.iterdir()) == []


def test_onnx_of_several_labels_gives_a_probability_for_each(tmp_path: Path):
    metadata = dataclasses.replace(THREE, task="multi-label", loss="bce", thresholds=(0.2, 0.5, 0.7))
    written = export_network(linear(), metadata, "onnx", tmp_path / "m.onnx", with_preprocessing=True)
    assert written.comparison is not None
    assert written.comparison.max_difference < 1e-3
    session = onnxruntime.InferenceSession(written.path)
    shares, logits = session.run(["probabilities", "logits"], {"images": np.asarray(noise(2).images)})
    assert np.allclose(shares, 1 / (1 + np.exp(-logits)), atol=1e-6)


def test_onnx_of_one_logit_gives_both_probabilities(tmp_path: Path):
    metadata = dataclasses.replace(THREE, class_names=("no", "yes"), one_logit=True, loss="bce")
    written = export_network(linear(1), metadata, "onnx", tmp_path / "m.onnx", with_preprocessing=True)
    assert written.note["outputs"]["probabilities"] == "float32 (batch, 2)"
    session = onnxruntime.InferenceSession(written.path)
    shares = session.run(["probabilities"], {"images": np.asarray(noise(2).images)})[0]
    assert np.allclose(shares.sum(axis=1), 1)


def test_network_of_one_channel_takes_colours_as_tl_does(tmp_path: Path):
    spec = InputSpec(channels=1, height=28, width=28, mean=(0.2,), std=(0.3,), crop_fraction=1.0)
    metadata = dataclasses.replace(THREE, input_spec=spec)
    torch.manual_seed(0)
    module = nn.Sequential(nn.Flatten(), nn.Linear(784, 3))
    written = export_network(module, metadata, "onnx", tmp_path / "m.onnx", with_preprocessing=True)
    assert written.note["inputs"] == {"images": "uint8 (batch, height, width, channels)"}
    pixels = noise(1).images[0]
    gray = np.asarray(Image.fromarray(pixels).convert("L"))[:, :, None]
    session = onnxruntime.InferenceSession(written.path)
    of_three, of_one = (session.run(["probabilities"], {"images": images[None]})[0] for images in (pixels, gray))
    assert np.array_equal(of_three, of_one)


def test_images_that_cannot_be_read_are_left_out_of_the_comparison(tmp_path: Path):
    (tmp_path / "no.png").write_text("no image")
    images = CheckImages([tmp_path / "no.png", *noise(2).images], "noise and a text")
    written = export_model(classifier(linear(), THREE), "onnx", tmp_path / "m.onnx", images)
    assert written.comparison is not None
    assert written.comparison.images == 2


def test_tl_export_to_onnx_says_what_the_file_takes_and_gives(written: Told):
    assert [name for name, _ in written.rows] == ["wrote", "compared", "input", "output", "output", "note"]
    assert [what for name, what in written.rows if "put" in name] == [
        "images: float32 (batch, 3, 32, 32)",
        "logits: float32 (batch, 3)",
        "features: float32 (batch, 96)",
    ]
