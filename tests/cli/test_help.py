"""What `--help` shows."""

import itertools
import re
import subprocess
import sys
from dataclasses import fields

import pytest
from typer.testing import CliRunner

from tests.helpers.terminal import run_tl
from tl_toolkit.cli.main import app
from tl_toolkit.config.finetune import FinetuneConfig
from tl_toolkit.text import flag_of

FLAGS = [flag_of(field.name) for field in fields(FinetuneConfig)]
OWN_FLAGS = ["--config", "--resume", "--verbose", "--quiet", "--json", "--trust"]


@pytest.mark.parametrize(
    "command",
    [
        [],
        ["finetune"],
        ["predict"],
        ["evaluate"],
        ["compare"],
        ["export"],
        ["import"],
        ["inspect"],
        ["plot"],
        ["rank"],
        ["serve"],
        ["runs"],
        ["runs", "list"],
        ["runs", "show"],
        ["runs", "rm"],
        ["models"],
        ["data"],
        ["cache"],
    ],
)
def test_help_of_every_command_imports_no_torch(command: list[str]):
    code = (
        "import sys\nfrom tl_toolkit.cli.main import app\n"
        "heavy = {'torch', 'timm', 'torchvision', 'matplotlib', 'numpy', 'jinja2', 'fastapi', 'uvicorn'}\n"
        "try: app([*sys.argv[1:], '--help'])\n"
        "finally: print('HEAVY', sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code, *command], capture_output=True, text=True, check=True)
    assert "Usage:" in done.stdout
    assert done.stdout.rstrip().endswith("HEAVY []")


def flags_in(shown: str) -> set[str]:
    return set(re.findall(r"^│ [ *]*(--[a-z-]+)", shown, re.MULTILINE))


def test_help_all_of_finetune_shows_every_flag_and_default():
    shown = run_tl("finetune", "--help-all").stdout
    assert flags_in(shown) == {*FLAGS, *OWN_FLAGS, "--help-all", "--help"}
    assert "[default: stratified]" in shown
    assert "Show all" in shown


def test_help_of_finetune_shows_the_settings_that_most_people_use():
    shown = run_tl("finetune", "--help").stdout
    common = [
        "--arch", "--weights", "--tune", "--time-budget", "--val-split", "--epochs", "--lr", "--seed", "--augment",
        "--image-size", "--out",
    ]  # fmt: skip
    assert flags_in(shown) == {*common, *OWN_FLAGS, "--help-all", "--help"}
    assert "Show all options, and exit." in shown
    assert "[default: 0]" in shown  # Of the seed, although 0 == False.


@pytest.mark.parametrize(
    "command", ["predict", "evaluate", "compare", "export", "import", "inspect", "rank", "plot", "serve"]
)
def test_help_of_every_other_command_is_short(command: str):
    assert len(flags_in(run_tl(command, "--help").stdout)) <= 15


def test_help_of_predict_says_what_a_probability_means():
    shown = " ".join(run_tl("predict", "--help").stdout.split())
    assert "how sure the network is among the classes that it knows" in shown
    assert 'There is no "none of these"' in shown
    assert "It is calibrated on the run's val images" in shown
    assert "marked as unknown" in shown


@pytest.mark.parametrize("command", ["finetune", "predict", "evaluate", "compare", "export", "rank", "plot", "serve"])
def test_help_of_a_command_fills_the_lines_of_a_narrow_terminal(command: str):
    narrow = CliRunner(env={"COLUMNS": "60", "NO_COLOR": "1"})
    shown = narrow.invoke(app, [command, "--help"]).stdout.partition("╭")[0]
    for paragraph in re.split(r"\n\s*\n", shown):
        lines = [line.strip() for line in paragraph.strip().splitlines()]
        for line, after in itertools.pairwise(lines):
            assert len(f"{line} {after.split()[0]}") > 58, paragraph
