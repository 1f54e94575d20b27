"""`tl import` and `tl inspect` as a person types them."""

import json
from pathlib import Path

import pytest
import timm
import torch

from tests.helpers.terminal import run_tl
from tl_toolkit.recipes.finetune import Run

WARNED = (
    "Warning: small.pth does not say what input it expects; took timm:test_resnet's own: 160 px, bilinear, mean "
    "0.5/0.5/0.5, std 0.5/0.5/0.5. If it was trained with another, say so: --preprocessing KEY=VALUE."
)


@pytest.fixture
def weights(in_folder: Path) -> Path:
    """A state_dict of three classes, and a file with their names."""
    torch.manual_seed(0)
    torch.save({"state_dict": timm.create_model("test_resnet", num_classes=3).state_dict()}, "small.pth")
    (in_folder / "names.txt").write_text("ant\nbee\ncat\n")
    return in_folder / "small.pth"


@pytest.mark.usefixtures("weights")
def test_import_says_what_matched_and_what_comes_next():
    done = run_tl("import", "small.pth", "--arch", "test_resnet", "--classes-file", "names.txt", "--out", "run")
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines() == [
        "arch        timm:test_resnet",
        "file        its state_dict",
        "",
        WARNED,
        "",
        "matched     92 tensors, 373.0 k parameters",
        "missing     none",
        "unexpected  none",
        "outputs     3 (fc)",
        "input       3x160x160, bilinear, center 0.95",
        "compared    with nothing: tensors alone give no outputs; evaluate it on labelled images",
        "run         run",
        "next        tl predict --model run IMAGE",
        "            tl evaluate --model run DATA",
    ]


@pytest.mark.usefixtures("weights")
def test_import_prints_its_note_as_json():
    words = ["small.pth", "--arch", "test_resnet", "--classes-file", "names.txt", "--out", "run", "--json"]
    done = run_tl("import", *words, "--preprocessing", "size=64", "--preprocessing", "mean=0.5,0.4,0.3")
    printed = json.loads(done.stdout)
    assert (printed["run"], printed["class_names"]) == ("run", ["ant", "bee", "cat"])
    assert (printed["input_spec"]["height"], printed["input_spec"]["mean"]) == (64, [0.5, 0.4, 0.3])


@pytest.mark.usefixtures("weights")
def test_import_without_names_fails_and_leaves_nothing(in_folder: Path):
    done = run_tl("import", "small.pth", "--arch", "test_resnet")
    assert (done.exit_code, done.stderr) == (
        2,
        "Error: small.pth has 3 outputs (fc) and no class names: give 3 names in their order, --classes-file FILE with "
        "one on each line. To train it for other classes it needs none: --weights small.pth of tl finetune.\n",
    )
    assert not (in_folder / "runs").exists()


@pytest.mark.usefixtures("weights")
def test_runs_list_an_imported_model_as_one():
    run_tl("import", "small.pth", "--arch", "test_resnet", "--classes-file", "names.txt", "--out", "runs/mine")
    listed = run_tl("runs").stdout
    assert "imported: trained elsewhere" in listed
    assert json.loads(run_tl("runs", "list", "--state", "imported", "--json").stdout)[0]["run"] == "runs/mine"
    shown = run_tl("runs", "show", "mine").stdout
    assert "tl evaluate --model runs/mine DATA" in shown
    assert "--resume" not in shown
    resumed = run_tl("finetune", "--resume", "runs/mine")
    assert (resumed.exit_code, resumed.stderr) == (
        2,
        "Error: The model in runs/mine was imported, so there is no training to go on with. Train a new run from it: "
        "--weights runs/mine/model.safetensors, with the same --arch and your --data.\n",
    )
    assert run_tl("runs", "rm", "mine", "--yes").exit_code == 0
    assert not Path("runs/mine").exists()


@pytest.mark.usefixtures("weights")
def test_inspect_prints_what_is_inside():
    done = run_tl("inspect", "small.pth")
    rows = dict(line.split(None, 1) for line in done.stdout.split("\n\n")[0].splitlines())
    assert rows["format"] == "a checkpoint of torch.save"
    assert rows["network"] == "not named in the file"
    assert rows["tensors"] == "92 with 375.1 k numbers: 77 float32, 15 int64"
    assert rows["last"] == "fc.bias float32 3"
    assert "Tensors, the largest of 92" in done.stdout


def test_inspect_of_a_run_prints_its_origin(judged_run: Run):
    done = run_tl("inspect", judged_run.path)
    assert done.exit_code == 0, done.output
    rows = dict(line.split(None, 1) for line in done.stdout.split("\n\n")[0].splitlines() if " " in line)
    assert rows["network"] == "timm:test_resnet"
    assert rows["classes"] == "3: 0, 1, 7"
    assert rows["head"] == "swap, loss cross-entropy"
    assert json.loads(run_tl("inspect", judged_run.path, "--json").stdout)["class_names"] == ["0", "1", "7"]
