"""Every format for six networks with both heads: each file is loaded in a process that knows its own library alone."""

import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import tl_toolkit as tl
from tl_toolkit.data.images import open_image
from tl_toolkit.errors import ToolkitError
from tl_toolkit.exports.writing import plain_copy
from tl_toolkit.inference.classifier import ImageClassifier
from tl_toolkit.runs.hub_folder import CONFIG_FILE
from tl_toolkit.training.evaluation import recorded_inputs

NETWORKS = {
    "resnet18": (64, "none"),
    "vgg16": (64, "none"),
    "lenet5": (28, "none"),
    "tf_efficientnet_lite0": (160, "package"),
    "mobilenetv3_small_100": (64, "none"),
    "vit_tiny_patch16_224": (224, "none"),
}
"""The size of their images in pixels, and the weights that a linear probe is trained on: random ones are "none"."""
HEADS = ("swap", "append")
CASES = [pytest.param(name, head, id=f"{name}, {head}") for name in NETWORKS for head in HEADS]
IMAGES = 8

TORCH_CODE = """
with torch.inference_mode():
    dtype = next((tensor.dtype for tensor in model.parameters()), torch.float32)
    outputs = model(torch.from_numpy(inputs["batch"]).to(dtype)).float().numpy()
"""
"""Runs `model`, which the code of a file's note builds, on a batch (N, C, H, W)."""

TIMM_CODE = f"""
import timm, torch
model = timm.create_model("local-dir:" + FILE, pretrained=True).eval()
{TORCH_CODE}
"""

ONNX_CODE = """
import onnxruntime
outputs = onnxruntime.InferenceSession(FILE).run(["logits"], {"images": inputs["batch"]})[0]
"""

INT8_CODE = ONNX_CODE.replace("batch", "val")
"""Runs a file on all images of val, for its accuracy."""

PIXELS_CODE = """
import onnxruntime
session = onnxruntime.InferenceSession(FILE)
photographs = [inputs[name][None] for name in inputs if name.startswith("photograph")]
outputs = numpy.concatenate([session.run(["logits"], {"images": pixels})[0] for pixels in photographs])
"""

BACKBONE_CODE = """
last, kept = [layer for layer in model.modules() if isinstance(layer, torch.nn.Linear)][-1], []
last.register_forward_hook(lambda layer, given, made: kept.append(made if HEAD == "append" else given[0]))
with torch.inference_mode():
    model(torch.from_numpy(inputs["batch"]))
outputs = kept[-1].numpy()
"""
"""What arrives at the head; with an appended one, the logits of the classifier before it."""

SCRIPT = """
import sys
import numpy
inputs = numpy.load("inputs.npz")
FILE, HEAD = sys.argv[1:]
{code}
numpy.save("outputs.npy", outputs)
print(*sorted({{"tl_toolkit", "torchvision", "timm", "torch"}} & set(sys.modules)))
"""


@dataclass(frozen=True)
class Row:
    """A format, and how its file is loaded by others.

    Attributes:
        name: The format and its options.
        to: The format; "hub" for a folder of the Hugging Face Hub.
        ending: Of the file's name.
        options: With which it is written.
        code: Python that makes `outputs` (N, classes) of `inputs` and FILE, after the code of the note.
        without: Packages that may not be imported on the way.
        tolerance: Largest difference, as a share of the largest output.
        features: Whether the outputs are what arrives at the head.
    """

    name: str
    to: str
    ending: str
    options: dict[str, Any] = field(default_factory=dict)
    code: str = TORCH_CODE
    without: tuple[str, ...] = ("tl_toolkit",)
    tolerance: float = 0.0
    features: bool = False

    @property
    def to_int8(self) -> bool:
        """Whether the file is judged by what it loses on val."""
        return self.options.get("dtype") == "int8"


NO_TORCH = ("tl_toolkit", "torch", "timm", "torchvision")
ROWS = [
    Row("state-dict", "state-dict", ".pth"),
    Row("state-dict, torchvision's names", "state-dict", ".pth", {"layout": "torchvision"}, tolerance=1e-5),
    Row("state-dict, timm's names", "state-dict", ".pth", {"layout": "timm"}, tolerance=1e-5),
    Row("state-dict, fp16", "state-dict", ".pth", {"dtype": "fp16"}, tolerance=0.01),
    Row("full-model", "full-model", ".pth"),
    Row("full-model, bf16", "full-model", ".pth", {"dtype": "bf16"}, tolerance=0.1),
    Row("safetensors", "safetensors", ".safetensors"),
    Row("torch-export", "torch-export", ".pt2", without=("tl_toolkit", "timm", "torchvision"), tolerance=1e-4),
    Row("onnx", "onnx", ".onnx", code=ONNX_CODE, without=NO_TORCH, tolerance=1e-4),
    Row("onnx, fp16", "onnx", ".onnx", {"dtype": "fp16"}, ONNX_CODE, NO_TORCH, 0.03),
    Row("onnx, preprocessing inside", "onnx", ".onnx", {"with_preprocessing": True}, PIXELS_CODE, NO_TORCH, 0.03),
    Row("onnx, int8", "onnx", ".onnx", {"dtype": "int8"}, INT8_CODE, NO_TORCH),
    Row("backbone", "backbone", ".safetensors", code=BACKBONE_CODE, features=True),
    Row("hub", "hub", "", code=TIMM_CODE, tolerance=1e-5),
]
"""All formats. int8 may lose more than a point only of a probe on random weights, which is all but undecided."""
NOT_EVERYWHERE = ("No network of", "timm cannot load")
"""What is said of a layout that the other library has no network for, and of timm."""


@pytest.fixture(scope="module")
def table(pytestconfig: pytest.Config) -> Iterator[dict[tuple[str, str], dict[str, str]]]:
    """Results by network and head, and by format; printed at the end."""
    found: dict[tuple[str, str], dict[str, str]] = {}
    yield found
    lines = [f"{'difference, of the largest output':36}{HEADS[0]:12}{HEADS[1]}"]
    for name in dict.fromkeys(name for name, _ in found):
        lines.append(name)
        for row in ROWS:
            cells = (found.get((name, head), {}).get(row.name, "") for head in HEADS)
            lines.append(f"  {row.name:34}{''.join(f'{cell:12}' for cell in cells)}".rstrip())
    capture: Any = pytestconfig.pluginmanager.get_plugin("capturemanager")
    with capture.global_and_fixture_disabled():
        print("\n" + "\n".join(lines))


@pytest.fixture(scope="module")
def ants_and_bees(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photographs of two classes."""
    folder = tmp_path_factory.mktemp("photographs")
    with tarfile.open(real_data / "hymenoptera.tar") as archive:
        archive.extractall(folder, filter="data")
    return folder / "hymenoptera"


@pytest.mark.slow
@pytest.mark.parametrize(("name", "head"), CASES)
def test_file_of_every_format_gives_the_models_outputs_where_the_toolkit_is_not(
    name: str, head: str, ants_and_bees: Path, tmp_path: Path, table: dict[tuple[str, str], dict[str, str]]
):
    size, weights = NETWORKS[name]
    network = {"arch": name, "head": head, "weights": weights, "image_size": size}
    tl.finetune(data=ants_and_bees, out=tmp_path / "run", **network, tune="linear-probe", report=False)
    model = plain_copy(tl.load(tmp_path / "run"))
    batch, targets = write_inputs(model, ants_and_bees, tmp_path)
    expected, features = outputs_of(model, batch)
    cells = table.setdefault((name, head), {})
    for row in ROWS:
        path = tmp_path / f"exported{row.ending}"
        try:
            note = write(row, tmp_path / "run", path, allow_loss=row.to_int8 and weights == "none")
        except ToolkitError as error:
            assert any(part in str(error) for part in NOT_EVERYWHERE)
            cells[row.name] = "none"
            continue
        found = load_elsewhere(row, note["code"], path.name, head, tmp_path)
        if row.to_int8:
            cells[row.name] = judge_int8(found, targets, note["quantization"])
        else:
            cells[row.name] = judge(row, found, features if row.features else expected)
        for file in tmp_path.glob("exported*.*"):
            file.unlink()
    everywhere = [row.name for row in ROWS if "layout" not in row.options and (row.to, name) != ("hub", "lenet5")]
    assert "none" not in [cells[each] for each in everywhere]


def write_inputs(model: ImageClassifier, photographs: Path, folder: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """Write what others compute outputs from; return the network's input of some images, and the targets of val."""
    files = sorted((photographs / "val").rglob("*.jpg"))
    targets = torch.tensor([model.class_names.index(file.parent.name) for file in files])
    val = torch.stack([model.transform(file) for file in files])
    images = [open_image(file) for file in files[:: len(files) // IMAGES][:IMAGES]]
    images[0].save(folder / "cat.png")  # The note's code opens it.
    batch = torch.stack([model.transform(image) for image in images])
    pixels = {f"photograph {number}": np.asarray(image) for number, image in enumerate(images)}
    np.savez(folder / "inputs.npz", batch=batch.numpy(), val=val.numpy(), **pixels)
    return batch, targets


def outputs_of(model: ImageClassifier, batch: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return a model's logits, and what arrives at its head."""
    last = [name for name, layer in model.module.named_modules() if isinstance(layer, nn.Linear)][-1]
    with recorded_inputs(model.module.get_submodule(last)) as features:
        return model.logits(batch), features[0]


def write(row: Row, run: Path, path: Path, allow_loss: bool) -> Mapping[str, Any]:
    """Write a file, and return its note; of a folder for the hub, one without code."""
    if row.to != "hub":
        return tl.export(run, row.to, out=path, allow_loss=allow_loss, **row.options).note
    pushed = tl.push(run, "me/model", dry_run=path)
    assert (path / CONFIG_FILE).is_file()
    if pushed.folder.not_timm:
        raise ToolkitError(f"timm cannot load it: {pushed.folder.not_timm}")
    return {"code": []}


def load_elsewhere(row: Row, code: list[str], file: str, head: str, folder: Path) -> torch.Tensor:
    """Return what the file's own library makes of it, in a fresh process that does not import the toolkit."""
    script = SCRIPT.format(code="\n".join([*code, row.code]))
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, "-c", script, file, head]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment)
    assert done.returncode == 0, f"{row.name}\n{script}\n{done.stderr}"
    assert not set(row.without) & set(done.stdout.split()), row.name
    return torch.from_numpy(np.load(folder / "outputs.npy"))


def judge(row: Row, found: torch.Tensor, expected: torch.Tensor) -> str:
    """Return a cell of the table: how far the outputs are from the model's."""
    apart = float((found - expected).abs().max() / expected.abs().max())
    assert apart <= row.tolerance, f"{row.name}: {apart}"
    return f"{apart:.0e}" if apart else "same bits"


def judge_int8(found: torch.Tensor, targets: torch.Tensor, told: Mapping[str, Any]) -> str:
    """Return a cell of the table: what int8 loses on val, as the note tells it and the logits of val confirm."""
    accuracy = float((found.argmax(1) == targets).float().mean())
    assert accuracy == pytest.approx(told["after"]["value"], abs=1.01 / len(targets))  # One image may be undecided.
    return f"{100 * told['difference']['value']:+.1f} points"
