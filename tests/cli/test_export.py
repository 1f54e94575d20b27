"""`tl export` as a person types it."""

from pathlib import Path

import pytest
import torch

from tests.helpers.terminal import run_tl
from tl_toolkit.recipes.finetune import Run


def test_export_writes_what_plain_torch_loads(tiny_run: Run, tmp_path: Path):
    done = run_tl("export", tiny_run.path, "--to", "state-dict", "--out", tmp_path / "w.pt")
    assert done.exit_code == 0, done.output
    assert torch.load(tmp_path / "w.pt", weights_only=True)["fc.weight"].shape == (3, 512)
    again = run_tl("export", tiny_run.path, "--to", "state-dict", "--out", tmp_path / "w.pt")
    assert again.exit_code == 2
    assert again.stderr == f"Error: {tmp_path / 'w.pt'} exists. Choose another --out, or replace it by --force.\n"


def test_export_into_the_home_folder_that_no_shell_has_expanded(
    tiny_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("HOME", str(tmp_path))
    done = run_tl("export", tiny_run.path, "--to", "state-dict", "--out=~/w.pt")
    assert done.exit_code == 0, done.output
    assert (tmp_path / "w.pt").is_file()


def test_export_without_a_format_names_the_formats():
    done = run_tl("export", "run")
    assert done.exit_code == 2
    assert "Missing option '--to'. The formats are state-dict, full-model, safetensors, " in done.stderr
