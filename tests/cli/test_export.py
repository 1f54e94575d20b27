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
    assert "nothing is ever overwritten" in again.stderr
