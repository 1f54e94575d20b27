"""Every command that takes a model or weights, given files that would run code."""

import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from typer.testing import CliRunner

from tests.helpers.pickles import Called
from tl_toolkit.cli.main import app
from tl_toolkit.recipes.finetune import Run

COMMANDS: dict[str, Callable[[Path, Path], list[str]]] = {
    "predict": lambda file, folder: ["predict", "--model", str(file), str(folder / "photos")],
    "evaluate": lambda file, folder: ["evaluate", "--model", str(file), "--data", str(folder / "photos")],
    "export": lambda file, folder: ["export", str(file), "--to", "state-dict", "--out", str(folder / "out.pt")],
    "finetune --weights": lambda file, folder: [
        *(
            "finetune",
            "--arch",
            "resnet18",
            "--weights",
            str(file),
            "--data",
            str(folder / "photos"),
            "--out",
            str(folder / "run"),
        ),
    ],
}
"""Arguments for a file, in a folder with photos/."""


def network_with_a_call(call: Called) -> nn.Module:
    module = nn.Sequential(nn.Linear(4, 3))
    module.more = call
    return module


def write_call(call: Called, path: Path) -> None:
    torch.save(call, path)


def write_network(call: Called, path: Path) -> None:
    torch.save(network_with_a_call(call), path)


def write_checkpoint(call: Called, path: Path) -> None:
    torch.save({"state_dict": nn.Linear(2, 2).state_dict(), "epoch": call}, path)


def write_plain_pickle(call: Called, path: Path) -> None:
    path.write_bytes(pickle.dumps(call))


FORMS = [write_call, write_network, write_checkpoint, write_plain_pickle]


def run(arguments: list[str]) -> Any:
    return CliRunner().invoke(app, arguments)


@pytest.mark.parametrize("write", FORMS)
@pytest.mark.parametrize("command", COMMANDS)
def test_a_file_that_would_run_code_is_refused_and_runs_none(
    command: str, write: Callable[[Called, Path], None], photos: Path, tmp_path: Path
):
    marker = tmp_path / "marker"
    write(Called(os.system, f"touch '{marker}'"), tmp_path / "evil.pt")
    result = run(COMMANDS[command](tmp_path / "evil.pt", tmp_path))
    assert result.exit_code == 1
    assert "evil.pt is refused, as loading it could run code" in result.stderr
    assert f"{os.system.__module__}.system" in result.stderr
    assert "say --trust" in result.stderr
    assert not marker.exists()
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("trust", [[], ["--trust"]])
@pytest.mark.parametrize("write", FORMS)
def test_a_checkpoint_that_would_run_code_is_refused_and_runs_none_even_with_trust(
    write: Callable[[Called, Path], None], trust: list[str], tiny_run: Run, tmp_path: Path
):
    marker = tmp_path / "marker"
    folder = shutil.copytree(tiny_run.path, tmp_path / "run")
    (folder / "summary.json").unlink()  # It is not finished.
    write(Called(os.system, f"touch '{marker}'"), folder / "checkpoint.safetensors")
    result = run(["finetune", "--resume", str(folder), *trust])
    assert result.exit_code == 1
    assert "is not a checkpoint that tl can resume from" in result.stderr
    pickled = run(["finetune", "--resume", str(folder / "checkpoint.safetensors"), *trust])
    assert pickled.exit_code == 2
    assert "is not a run folder" in pickled.stderr
    assert not marker.exists()


@pytest.mark.parametrize("command", COMMANDS)
def test_with_trust_the_code_runs_after_a_warning(command: str, photos: Path, tmp_path: Path, caplog: Any):
    """Which also shows that the files of the test above are dangerous."""
    marker = tmp_path / "marker"
    write_call(Called(os.system, f"touch '{marker}'"), tmp_path / "evil.pt")
    result = run([*COMMANDS[command](tmp_path / "evil.pt", tmp_path), "--trust"])
    assert result.exit_code in (1, 2)  # What the code gave is no model.
    assert marker.exists()
    assert "code that is in it runs now, with all your rights" in caplog.text


def test_a_config_file_cannot_say_trust(tmp_path: Path):
    (tmp_path / "config.yaml").write_text("trust: true\nweights: evil.pt\n")
    result = run(["finetune", "--config", str(tmp_path / "config.yaml")])
    assert result.exit_code == 2
    assert "No setting is named 'trust'" in result.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_a_full_model_that_tl_saved_needs_no_trust(command: str, tiny_run: Run, photos: Path, tmp_path: Path):
    arguments = COMMANDS[command](tiny_run.path / "full_model.pt", tmp_path)
    if command.startswith("finetune"):
        arguments += ["--tune", "linear-probe", "--epochs", "1"]
    result = run(arguments)
    assert result.exit_code == 0, result.output
