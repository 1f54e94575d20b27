"""What ``tl finetune`` does before it trains."""

import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tl_toolkit.cli.main import app
from tl_toolkit.errors import UsageError
from tl_toolkit.recipes import finetune as recipe
from tl_toolkit.system.cpu_usage import Usage


@pytest.mark.parametrize(("name", "words"), [("finetune", []), ("resume", ["--resume", "runs/a"])])
def test_finetune_in_a_long_process_counts_the_budget_from_the_command(
    monkeypatch: pytest.MonkeyPatch, name: str, words: list[str], in_folder: Path
):
    (in_folder / "runs" / "a").mkdir(parents=True)
    (in_folder / "runs" / "a" / "config.yaml").touch()
    counted_from: list[float] = []

    def note(*_: Any, started: Usage, **__: Any) -> None:
        counted_from.append(started.time)
        raise UsageError("enough")

    monkeypatch.setattr(recipe, name, note)
    before = time.perf_counter()
    done = CliRunner().invoke(app, ["finetune", *words])
    assert "enough" in done.output
    assert before <= counted_from[0] <= time.perf_counter()
