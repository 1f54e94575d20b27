"""The status line while PyTorch is imported."""

import io
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from tl_toolkit.cli import console
from tl_toolkit.cli.loading import loading
from tl_toolkit.cli.main import app
from tl_toolkit.errors import UsageError
from tl_toolkit.planning import ranking as rank
from tl_toolkit.recipes.finetune import Run


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """The stderr of a terminal."""
    shown = io.StringIO()
    monkeypatch.setattr(console, "_err", Console(file=shown, force_terminal=True, width=80))
    return shown


COMMANDS = {
    "finetune": ["--resume", "RUN"],
    "predict": ["IMAGE", "-m", "RUN"],
    "evaluate": ["-m", "RUN"],
    "export": ["RUN", "--to", "state-dict", "--out", "OUT"],
    "rank": ["--data", "DATA"],
    "models": ["resnet10t"],
    "models show": ["lenet5"],
    "data info": ["DATA"],
    "data check": ["DATA"],
    "data get": ["mnist", "--data-root", "OUT"],
}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_that_imports_torch_shows_it_on_a_terminal(
    command: str,
    terminal: io.StringIO,
    tiny_run: Run,
    tiny_data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    def enough(*_: object) -> None:
        raise UsageError("enough")

    monkeypatch.setattr(rank, "rank_networks", enough)
    image = min((tiny_data / "test" / "1").iterdir())
    paths = {"RUN": tiny_run.path, "DATA": tiny_data, "IMAGE": image, "OUT": tmp_path / "out.pt"}
    CliRunner().invoke(app, [*command.split(), *(str(paths.get(word, word)) for word in COMMANDS[command])])
    assert "Loading PyTorch ..." in terminal.getvalue()


def test_loading_leaves_nothing_on_the_terminal(terminal: io.StringIO):
    with loading():
        pass
    assert terminal.getvalue().endswith("\r\x1b[1A\x1b[2K")  # To the line above, and clear it.


def test_loading_is_silent_in_a_pipe_and_when_quiet(terminal: io.StringIO, capfd: pytest.CaptureFixture[str]):
    with loading(quiet=True):
        pass
    assert not terminal.getvalue()
    console._err = Console(stderr=True, force_terminal=False)
    with loading():
        pass
    assert capfd.readouterr() == ("", "")
