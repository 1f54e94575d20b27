"""The shipped configs, scripts and the notebook do what they say."""

import re
import runpy
import subprocess
import sys
from pathlib import Path

import jupytext
import pytest

import tl_toolkit as tl
from tests.helpers.folders import copy_digits
from tl_toolkit.config.config_file import read_config_file
from tl_toolkit.config.finetune import FinetuneConfig
from tl_toolkit.models.classic import CLASSIC

EXAMPLES = Path(__file__).parents[1] / "examples"
CONFIGS = sorted(EXAMPLES.glob("*.yaml"))
NUMBERS_OF_IMAGES = ("train_images", "val_images", "test_images", "log_every", "draw")
"""Left out where a config is tried on a few images."""

RUN_NOTEBOOK = """
import sys, nbformat, nbclient
notebook = nbformat.read(sys.argv[1], as_version=4)
nbclient.NotebookClient(notebook, timeout=600, kernel_name="python3").execute()
outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
print("".join(output.get("text", "") for output in outputs))
"""


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_example_config_is_valid_and_names_its_command_and_results(path: Path):
    FinetuneConfig.from_values(read_config_file(path))
    header = path.read_text(encoding="utf-8").partition("\n\n")[0]
    for word in ("# command:", "# result:", "# hardware:", "# versions:"):
        assert word in header
    assert f"--config examples/{path.name}" in header


def test_every_tutorial_has_its_config():
    assert {FinetuneConfig.from_values(read_config_file(path)).arch for path in CONFIGS} >= {*CLASSIC, "vgg16"}


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten classes, as the tutorials have."""
    folder = tmp_path_factory.mktemp("examples")
    for split, count in (("train", 8), ("test", 2)):
        copy_digits(folder / split, [str(digit) for digit in range(10)], count, split)
    return folder


@pytest.mark.parametrize(
    "path",
    [pytest.param(path, marks=[pytest.mark.slow] if "vgg16" in path.stem else [], id=path.stem) for path in CONFIGS],
)
def test_example_config_trains_the_network_it_names(path: Path, digits: Path, tmp_path: Path):
    said = read_config_file(path)
    few = {name: value for name, value in said.items() if name not in NUMBERS_OF_IMAGES}
    pretrained = {"weights": "bundled", "image_size": 32} if said.get("arch", "resnet18") == "resnet18" else {}
    random = {"weights": "none", "image_size": 32} if "vgg16" in path.stem else {}
    run = tl.finetune(**few | pretrained | random | {"data": digits, "epochs": 1, "out": tmp_path / "run"})
    assert (run.summary["classes"], run.summary["test_images"]) == (10, 20)
    assert run.summary["arch"].endswith(f":{said.get('arch', 'resnet18')}")


def test_python_example_runs(in_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    copy_digits(in_folder / "photos", ["0", "1", "7"], 10)
    monkeypatch.setattr(sys, "argv", ["python_api.py", "photos"])
    runpy.run_path(str(EXAMPLES / "python_api.py"), run_name="__main__")
    assert re.search(r"photos/0/\d+\.png: [017] \(\d", capsys.readouterr().out)


def check_first_steps(printed: str) -> None:
    accuracies = [float(value) for value in re.findall(r"test accuracy ([\d.]+)%", printed)]
    assert len(accuracies) == 2
    assert min(accuracies) > 90
    assert re.search(r"a batch: \(64, 1, 28, 28\)", printed)
    assert float(re.search(r"largest difference of the logits: (\S+)", printed)[1]) < 1e-4
    assert re.search(r"^\d: \d+\.\d%$", printed, re.MULTILINE)


def test_first_steps_script_runs_in_an_empty_folder(in_folder: Path, capsys: pytest.CaptureFixture[str]):
    runpy.run_path(str(EXAMPLES / "first_steps.py"), run_name="__main__")
    check_first_steps(capsys.readouterr().out)
    assert {"state_dict.pt", "full_model.pt", "runs"} <= {path.name for path in in_folder.iterdir()}


def test_first_steps_notebook_runs_in_an_empty_folder(in_folder: Path):
    command = [sys.executable, "-c", RUN_NOTEBOOK, EXAMPLES / "first_steps.ipynb"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    check_first_steps(done.stdout)


def test_first_steps_notebook_has_the_cells_of_the_script():
    script, notebook = (jupytext.read(EXAMPLES / f"first_steps.{ending}") for ending in ("py", "ipynb"))
    assert [(cell.cell_type, cell.source) for cell in notebook.cells] == [
        (cell.cell_type, cell.source) for cell in script.cells
    ]
