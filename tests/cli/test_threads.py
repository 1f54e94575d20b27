"""--threads, which several commands share."""

from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from tl_toolkit.cli.main import app
from tl_toolkit.errors import UsageError
from tl_toolkit.recipes import rank
from tl_toolkit.recipes.finetune import Run


def calls_of(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Numbers of threads that torch is set to."""
    counts: list[int] = []
    real = torch.set_num_threads

    def note(count: int) -> None:
        counts.append(count)
        real(count)

    monkeypatch.setattr(torch, "set_num_threads", note)
    return counts


@pytest.mark.parametrize("command", ["predict", "evaluate", "rank"])
def test_threads_of_a_command_are_torchs_until_it_is_done(
    command: str, tiny_run: Run, tiny_data: Path, monkeypatch: pytest.MonkeyPatch
):
    def enough(*_: object) -> None:
        raise UsageError("enough")

    monkeypatch.setattr(rank, "rank_networks", enough)
    own = torch.get_num_threads()
    image = str(min((tiny_data / "test" / "1").iterdir()))
    words = {
        "predict": [image, "-m", str(tiny_run.path)],
        "evaluate": ["-m", str(tiny_run.path)],
        "rank": ["--data", str(tiny_data)],
    }[command]
    counts = calls_of(monkeypatch)
    done = CliRunner().invoke(app, [command, *words, "--threads", str(own + 1)])
    assert done.exit_code == (2 if command == "rank" else 0), done.output
    assert counts == [own + 1, own]


@pytest.mark.parametrize("command", ["finetune", "predict", "evaluate", "rank"])
def test_threads_beyond_the_limit_are_refused(command: str):
    done = CliRunner().invoke(app, [command, "--threads", "9999999"])
    assert done.exit_code == 2
    assert "1024" in done.output
