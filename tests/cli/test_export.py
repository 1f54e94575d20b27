"""`tl export` as a person types it."""

from pathlib import Path

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


def test_export_without_a_format_names_the_formats():
    done = run_tl("export", "run")
    assert done.exit_code == 2
    assert "Missing option '--to'. The formats are state-dict, full-model, safetensors, " in done.stderr
