"""Every format for six networks with both heads: each file is loaded in a process that knows its own library alone."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import tl_toolkit as tl
from tests.helpers.exports import classifier, export_network, noise
from tl_toolkit.errors import ToolkitError
from tl_toolkit.exports.comparison import CheckBatch
from tl_toolkit.input_spec import InputSpec
from tl_toolkit.model_file import ModelMetadata
from tl_toolkit.models.backbones import resolve_arch

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
CASES = [pytest.param(name, head, id=f"{name}, {head}") for name in NETWORKS for head in ("swap", "append")]

TORCH_CODE = """
with torch.inference_mode():
    outputs = model(torch.from_numpy(inputs).to(next(model.parameters()).dtype)).float().numpy()
"""
"""Runs `model`, which the code of a file's note builds, on `inputs` (N, C, H, W)."""

BACKBONE_CODE = """
from safetensors.torch import load_file
differing = model.load_state_dict(load_file(FILE), strict=False)
assert not differing.unexpected_keys, differing
outputs = numpy.array(len(differing.missing_keys))
"""

SCRIPT = """
import sys
import numpy
inputs = numpy.load("inputs.npy")
FILE = sys.argv[1]
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
        libraries: Those of torchvision, timm and tl_toolkit that may be imported; None for the network's own library.
        tolerance: Largest difference, relative where the largest output is above 1.
        shows_outputs: Whether it computes the model's outputs.
    """

    to: str
    ending: str
    options: dict[str, Any] = field(default_factory=dict)
    code: str = TORCH_CODE
    libraries: tuple[str, ...] | None = None
    tolerance: float = 0.0
    shows_outputs: bool = True

    @property
    def name(self) -> str:
        """The format and its options."""
        return " ".join([self.to, *map(str, self.options.values())])


ROWS = [
    Row("state-dict", ".pth"),
    Row("state-dict", ".pth", {"layout": "torchvision"}, tolerance=1e-5),
    Row("state-dict", ".pth", {"layout": "timm"}, libraries=("timm", "torchvision"), tolerance=1e-5),
    Row("state-dict", ".pth", {"dtype": "fp16"}, tolerance=0.01),
    Row("full-model", ".pth"),
    Row("full-model", ".pth", {"dtype": "bf16"}, tolerance=0.1),
    Row("safetensors", ".safetensors"),
    Row("torch-export", ".pt2", code=TORCH_CODE.replace("next(model.parameters()).dtype", "torch.float32")),
    Row("backbone", ".safetensors", code=BACKBONE_CODE, shows_outputs=False),
]


@pytest.fixture(scope="module")
def table(pytestconfig: pytest.Config) -> Iterator[dict[str, dict[str, str]]]:
    """Results by network and format, printed at the end."""
    found: dict[str, dict[str, str]] = {}
    yield found
    names = [row.name for row in ROWS]
    width = max(map(len, names))
    lines = [f"{'':{width}}  {'  '.join(found)}"]
    lines += [
        "  ".join([f"{name:{width}}", *(f"{cells.get(name, ''):{len(column)}}" for column, cells in found.items())])
        for name in names
    ]
    reporter: Any = pytestconfig.pluginmanager.get_plugin("terminalreporter")
    reporter.write_line("\n" + "\n".join(lines))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "head"), CASES)
def test_file_of_every_format_gives_the_models_outputs_where_the_toolkit_is_not(
    name: str, head: str, tmp_path: Path, table: dict[str, dict[str, str]]
):
    torch.manual_seed(0)
    base, spec = NETWORKS[name]
    module = tl.build_model(name, len(CLASSES), head=head, weights="none", in_channels=spec.channels)
    module = module.to(memory_format=torch.contiguous_format).eval()
    metadata = ModelMetadata(str(resolve_arch(name)), head, base, CLASSES, spec)
    inputs = CheckBatch(classifier(module, metadata), noise().images).inputs
    np.save(tmp_path / "inputs.npy", inputs.numpy())
    with torch.inference_mode():
        expected = module(inputs)
    cells = table.setdefault(f"{name} {head}", {})
    for row in ROWS:
        try:
            written = export_network(module, metadata, row.to, tmp_path / f"exported{row.ending}", **row.options)
        except ToolkitError as error:
            assert "No network of" in str(error)
            cells[row.name] = "none"
            continue
        found = load_elsewhere(row, written.note, tmp_path, resolve_arch(name).library)
        cells[row.name] = judge(row, found, expected)
        for file in tmp_path.glob("exported*"):
            file.unlink()
    assert "none" not in [cells[row.name] for row in ROWS if "layout" not in row.options]


def load_elsewhere(row: Row, note: dict[str, Any], folder: Path, library: str) -> torch.Tensor:
    """Return what the file's own library makes of it, in a fresh process that may not import the toolkit."""
    loading = backbone_loading(note) if row.to == "backbone" else note["code"]
    script = SCRIPT.format(code="\n".join(["import torch", *loading, row.code]))
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, "-c", script, note["file"]]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment)
    assert done.returncode == 0, f"{row.name}\n{script}\n{done.stderr}"
    assert "tl_toolkit" not in done.stdout
    return torch.from_numpy(np.load(folder / "outputs.npy"))


def backbone_loading(note: dict[str, Any]) -> list[str]:
    """Return the code of the network with the head that its library gives it."""
    return []


def judge(row: Row, found: torch.Tensor, expected: torch.Tensor) -> str:
    """Return a cell of the table: how far the outputs are from the model's."""
    if not row.shows_outputs:
        return "its keys"
    apart = float((found - expected).abs().max()) / max(1.0, float(expected.abs().max()))
    assert apart <= row.tolerance, row.name
    return f"{apart:.0e}" if apart else "same bits"


def test_table_has_a_row_for_each_format_of_torch():
    assert json.dumps([row.name for row in ROWS[:3]])
