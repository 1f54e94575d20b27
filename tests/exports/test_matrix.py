"""Every format for six networks with both heads: each file is loaded in a process that knows its own library alone."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import tl_toolkit as tl
from tests.helpers.exports import classifier, export_network, noise
from tl_toolkit.errors import ToolkitError
from tl_toolkit.exports.comparison import CheckBatch
from tl_toolkit.input_spec import InputSpec
from tl_toolkit.model_file import ModelMetadata
from tl_toolkit.models.backbones import resolve_arch
from tl_toolkit.training.evaluation import recorded_inputs

CLASSES = ("a", "b", "c")
IMAGENET, SMALL = InputSpec(), InputSpec(height=64, width=64)
NETWORKS = {
    "resnet18": (1000, SMALL),
    "vgg16": (1000, SMALL),
    "lenet5": (10, InputSpec(1, 28, 28, (0.0,), (1.0,))),
    "tf_efficientnet_lite0": (1000, SMALL),
    "mobilenetv3_small_100": (1000, SMALL),
    "vit_tiny_patch16_224": (1000, IMAGENET),
}
HEADS = ("swap", "append")
CASES = [pytest.param(name, head, id=f"{name}, {head}") for name in NETWORKS for head in HEADS]

TORCH_CODE = """
with torch.inference_mode():
    dtype = next((tensor.dtype for tensor in model.parameters()), torch.float32)
    outputs = model(torch.from_numpy(inputs).to(dtype)).float().numpy()
"""
"""Runs `model`, which the code of a file's note builds, on `inputs` (N, C, H, W)."""

ONNX_CODE = """
import onnxruntime
outputs = onnxruntime.InferenceSession(FILE).run(["logits"], {"images": inputs})[0]
"""

BACKBONE_CODE = """
last, kept = [layer for layer in model.modules() if isinstance(layer, torch.nn.Linear)][-1], []
last.register_forward_hook(lambda layer, given, made: kept.append(made if HEAD == "append" else given[0]))
with torch.inference_mode():
    model(torch.from_numpy(inputs))
outputs = kept[-1].numpy()
"""
"""What arrives at the head; with an appended one, the logits of the classifier before it."""

SCRIPT = """
import sys
import numpy
inputs = numpy.load("inputs.npy")
FILE, HEAD = sys.argv[1:]
{code}
numpy.save("outputs.npy", outputs)
print(*sorted({{"tl_toolkit", "torchvision", "timm", "torch"}} & set(sys.modules)))
"""


@dataclass(frozen=True)
class Row:
    """A format, and how its file is loaded by others.

    Attributes:
        to: Name of the format.
        ending: Of the file's name.
        options: With which it is written.
        code: Python that makes `outputs` (N, classes) of `inputs` and FILE, after the code of the note.
        without: Packages that may not be imported on the way.
        tolerance: Largest difference, relative where the largest output is above 1.
        features: Whether the outputs are what arrives at the head.
    """

    to: str
    ending: str
    options: dict[str, Any] = field(default_factory=dict)
    code: str = TORCH_CODE
    without: tuple[str, ...] = ("tl_toolkit",)
    tolerance: float = 0.0
    features: bool = False

    @property
    def name(self) -> str:
        """The format and its options."""
        return " ".join([self.to, *map(str, self.options.values())])


ROWS = [
    Row("state-dict", ".pth"),
    Row("state-dict", ".pth", {"layout": "torchvision"}, tolerance=1e-5),
    Row("state-dict", ".pth", {"layout": "timm"}, tolerance=1e-5),
    Row("state-dict", ".pth", {"dtype": "fp16"}, tolerance=0.01),
    Row("full-model", ".pth"),
    Row("full-model", ".pth", {"dtype": "bf16"}, tolerance=0.1),
    Row("safetensors", ".safetensors"),
    Row("torch-export", ".pt2", without=("tl_toolkit", "timm", "torchvision"), tolerance=1e-4),
    Row("onnx", ".onnx", code=ONNX_CODE, without=("tl_toolkit", "torch", "timm", "torchvision"), tolerance=1e-4),
    Row("backbone", ".safetensors", code=BACKBONE_CODE, features=True),
]


@pytest.fixture(scope="module")
def table(pytestconfig: pytest.Config) -> Iterator[dict[tuple[str, str], dict[str, str]]]:
    """Results by network and head, and by format; printed at the end."""
    found: dict[tuple[str, str], dict[str, str]] = {}
    yield found
    lines = [f"{'largest difference of an output':36}{HEADS[0]:12}{HEADS[1]}"]
    for name in dict.fromkeys(name for name, _ in found):
        lines.append(name)
        for row in ROWS:
            cells = (found.get((name, head), {}).get(row.name, "") for head in HEADS)
            lines.append(f"  {row.name:34}{''.join(f'{cell:12}' for cell in cells)}".rstrip())
    capture: Any = pytestconfig.pluginmanager.get_plugin("capturemanager")
    with capture.global_and_fixture_disabled():
        print("\n" + "\n".join(lines))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "head"), CASES)
def test_file_of_every_format_gives_the_models_outputs_where_the_toolkit_is_not(
    name: str, head: str, tmp_path: Path, table: dict[tuple[str, str], dict[str, str]]
):
    torch.manual_seed(0)
    base, spec = NETWORKS[name]
    module = tl.build_model(name, len(CLASSES), head=head, weights="none", in_channels=spec.channels)
    module = module.to(memory_format=torch.contiguous_format).eval()
    metadata = ModelMetadata(str(resolve_arch(name)), head, base, CLASSES, spec)
    inputs = CheckBatch(classifier(module, metadata), noise().images).inputs
    np.save(tmp_path / "inputs.npy", inputs.numpy())
    with recorded_inputs(module.get_submodule(last_linear(module))) as features, torch.inference_mode():
        expected = module(inputs)
    cells = table.setdefault((name, head), {})
    for row in ROWS:
        try:
            written = export_network(module, metadata, row.to, tmp_path / f"exported{row.ending}", **row.options)
        except ToolkitError as error:
            assert "No network of" in str(error)
            cells[row.name] = "none"
            continue
        found = load_elsewhere(row, written.note, head, tmp_path)
        cells[row.name] = judge(row, found, features[0] if row.features else expected)
        for file in tmp_path.glob("exported*"):
            file.unlink()
    assert "none" not in [cells[row.name] for row in ROWS if "layout" not in row.options]


def last_linear(module: nn.Module) -> str:
    return [name for name, layer in module.named_modules() if isinstance(layer, nn.Linear)][-1]


def load_elsewhere(row: Row, note: Mapping[str, Any], head: str, folder: Path) -> torch.Tensor:
    """Return what the file's own library makes of it, in a fresh process that does not import the toolkit."""
    script = SCRIPT.format(code="\n".join([*note["code"], row.code]))
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, "-c", script, note["file"], head]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment)
    assert done.returncode == 0, f"{row.name}\n{script}\n{done.stderr}"
    assert not set(row.without) & set(done.stdout.split()), row.name
    return torch.from_numpy(np.load(folder / "outputs.npy"))


def judge(row: Row, found: torch.Tensor, expected: torch.Tensor) -> str:
    """Return a cell of the table: how far the outputs are from the model's."""
    apart = float((found - expected).abs().max()) / max(1.0, float(expected.abs().max()))
    assert apart <= row.tolerance, row.name
    return f"{apart:.0e}" if apart else "same bits"
