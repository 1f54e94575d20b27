"""The README's commands do what they say."""

import re
import shlex
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from tests.helpers.folders import copy_digits
from tl_toolkit.cli.main import app
from tl_toolkit.recipes.finetune import Run

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
TINY = "weights: bundled\nimage_size: 32\nepochs: 1\nprobe_epochs: 2\nviews: 1\n"


def code_blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


@pytest.fixture
def home(in_folder: Path, tiny_run: Run, tiny_data: Path) -> Path:
    """A working directory with what the README speaks of: photos/, cat.png and a run."""
    copy_digits(in_folder / "photos", ["0", "1", "7"], 10)
    (in_folder / "cat.png").write_bytes(min((tiny_data / "test" / "1").iterdir()).read_bytes())
    return in_folder


def test_commands_of_the_readme_run_in_order(home: Path):
    (home / "tiny.yaml").write_text(TINY)
    lines = [line for block in code_blocks("sh") for line in block.splitlines() if line.startswith("tl ")]
    assert len(lines) == 7
    for line in lines:
        words = shlex.split(line, comments=True)[1:]
        if words[0] == "finetune" and "--resume" not in words:
            words += ["--config", "tiny.yaml"]
        words = [str(next((home / "runs").iterdir())) if word == "RUN" else word for word in words]
        done = CliRunner().invoke(app, words)
        assert done.exit_code == 0, f"{line}\n{done.output}"
    assert (home / "cat.pt").is_file()


def test_python_of_the_readme_runs(home: Path):
    [block] = code_blocks("python")
    code = block.replace('data="photos/"', f'data="photos/", **{yaml.safe_load(TINY)!r}')
    assert code.count("**{") == 2
    code = code.replace('head="append"', 'head="append", weights="none"')
    assert code.count('weights="none"') == 1
    exec(compile(code, "README.md", "exec"), {})


def test_two_commands_of_the_readme_stand_on_lines_of_their_own():
    lines = [line for line in README.splitlines() if line.startswith("[ -d .venv ] || python3 -m venv .venv;")]
    assert [line.rpartition("&& ")[2] for line in lines] == [".venv/bin/tl finetune", ".venv/bin/python -m pytest"]


def test_commands_of_the_readme_show_how_far_pip_is():
    installing = [line for line in README.splitlines() if "pip install" in line and "-m venv" in line]
    assert len(installing) == 2
    assert not [line for line in installing if re.search(r"\s(-q+|--quiet)\b", line)]


def test_readme_links_to_files_that_exist():
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target
