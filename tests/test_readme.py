"""The README and the pages of docs/ do what they say."""

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import httpx
import pytest
import torch
import yaml
from typer.testing import CliRunner

import tl_toolkit as tl
from tests.helpers.folders import copy_digits
from tests.helpers.hub import serve_hub
from tests.helpers.parquet import write_folder
from tests.helpers.servers import serve_files
from tests.helpers.serving import started
from tl_toolkit.cli.main import app
from tl_toolkit.exports.base import ExportOptions, ExportRequest
from tl_toolkit.exports.writing import no_val
from tl_toolkit.recipes.finetune import Run

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
DOCS = sorted((ROOT / "docs").glob("*.md"))
LINKING = [README, *DOCS, *(ROOT / name for name in ("CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"))]
TINY = "weights: bundled\nimage_size: 32\nepochs: 1\nprobe_epochs: 2\nviews: 1\n"
"""Settings with which a command or a snippet of a page takes seconds."""
HUB_CONFIGS = {"default": "default", "CONFIG": "other"}
"""The configs of the dataset that the pages call ORG/NAME, and their folders."""


def code_blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


def commands(page: Path) -> list[str]:
    return [line for block in code_blocks(page, "sh") for line in block.splitlines() if line.startswith("tl ")]


def transcripts(page: Path) -> list[str]:
    """The commands behind a prompt, which name what is elsewhere."""
    return [
        line.removeprefix("$ ")
        for block in code_blocks(page, "console")
        for line in block.splitlines()
        if line.startswith("$ tl ")
    ]


def pages_with(*languages: str) -> list[object]:
    pages = [page for page in (README, *DOCS) if any(code_blocks(page, language) for language in languages)]
    return [pytest.param(page, id=page.stem) for page in pages]


@pytest.fixture
def home(in_folder: Path, tiny_run: Run, tiny_data: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with what the pages name: photos/, tables of them, cat.png and a run."""
    monkeypatch.setenv("TL_CACHE", str(in_folder / "cache"))
    copy_digits(in_folder / "photos", ["0", "1", "7"], 10)
    names = {"0": "", "1": "cat", "7": "cat;dog"}
    rows = [f"{path},{names[path.parent.name]}" for path in sorted(Path("photos").rglob("*.png"))]
    (in_folder / "pets.csv").write_text("\n".join(["path,labels", *rows]) + "\n")
    files = sorted(Path("photos").rglob("*.png"))
    rows = [f"{path.as_posix()},{path.parent.name}" for path in files]
    (in_folder / "labels.csv").write_text("\n".join(["path,label", *rows]) + "\n")
    rows = [f"{path},{path.parent.name},patient {number // 2}" for number, path in enumerate(files)]
    (in_folder / "scans.csv").write_text("\n".join(["path,label,patient", *rows]) + "\n")
    (in_folder / "cat.png").write_bytes(min((tiny_data / "test" / "1").iterdir()).read_bytes())
    torch.save(tl.load(tiny_run.path).module.state_dict(), in_folder / "resnet18.pth")
    (in_folder / "names.txt").write_text("0\n1\n7\n")
    for name in ("tiny", "other"):
        shutil.copytree(tiny_run.path, in_folder / "runs" / name, ignore=shutil.ignore_patterns("*.pt"))
    return in_folder


@pytest.fixture
def elsewhere(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What the pages name that is no folder or table: Parquet, a saved dataset, and one of a stand-in for the Hub."""
    write_folder(home / "photos.parquet", home / "photos")
    splits = {name: copy_digits(home / "parts" / name, ["0", "1", "7"], 6) for name in ("train", "validation", "test")}
    for split, folder in splits.items():
        write_folder(home / "folder" / f"{split}-00000-of-00001.parquet", folder)
    shutil.copytree(home / "folder", home / "repository" / "default")
    shutil.copytree(home / "folder", home / "repository" / "other")
    configs = [f"- config_name: {name}\n  data_dir: {place}\n" for name, place in HUB_CONFIGS.items()]
    (home / "repository" / "README.md").write_text(f"---\nconfigs:\n{''.join(configs)}---\n")
    saved = {split: datasets.Dataset.from_parquet(str(home / "photos.parquet")) for split in ("train", "test")}
    datasets.DatasetDict(saved).cast_column("image", datasets.Image()).save_to_disk(home / "saved")
    with serve_hub(monkeypatch, home / "hub_cache") as hub:
        hub.add("ORG/NAME", home / "repository").folders["v1.0"] = home / "folder"
        yield


def run_command(line: str, home: Path) -> None:
    """Run a command of a page, with settings that take seconds."""
    (home / "tiny.yaml").write_text(TINY)
    words = shlex.split(line, comments=True)[1:]
    if words[0] == "finetune" and not {"--resume", "--config"} & set(words):
        words += ["--config", "tiny.yaml"]
    small = {"RUN": "runs/tiny", "OTHER_RUN": "runs/other", "20": "2"}  # 20 epochs would take long.
    words = [small.get(word, word) for word in words]
    if words[0] == "serve":
        with started(*words[1:]) as server:
            assert httpx.get(f"{server.url}/health".replace("0.0.0.0", "127.0.0.1")).status_code == 200
            assert server.end()[0] == 0
        return
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, f"{line}\n{done.output}"


@pytest.mark.parametrize("page", pages_with("sh"))
def test_commands_of_a_page_run_in_order(page: Path, home: Path):
    with serve_files(home) as site:
        for line in commands(page):
            run_command(line.replace("https://example.org", site.url), home)
    assert (home / "cat.pt").is_file() == (page == README)


@pytest.mark.parametrize("page", pages_with("console"))
@pytest.mark.usefixtures("elsewhere")
def test_transcripts_of_a_page_run(page: Path, home: Path):
    for line in transcripts(page):
        run_command(line, home)


@pytest.mark.parametrize("page", [page for page in pages_with("python") if page.id != "extending"])
def test_python_of_a_page_runs(page: Path, home: Path):
    code = "".join(code_blocks(page, "python"))
    code, calls = re.subn(r"\btl\.(finetune|rank)\(", rf"tl.\1(**{yaml.safe_load(TINY)!r}, ", code)
    assert calls
    exec(compile(code.replace('head="append"', 'head="append", weights="none"'), page.name, "exec"), {})


@pytest.mark.slow
def test_launches_of_the_page_on_processes_run(home: Path):
    page = ROOT / "docs" / "processes.md"
    lines = [line for block in code_blocks(page, "sh") for line in block.splitlines() if line.startswith("torchrun ")]
    assert len(lines) == 2
    (home / "tiny.yaml").write_text(TINY)
    for line in lines:
        words = [{"RUN": "runs/tiny"}.get(word, word) for word in shlex.split(line)[1:]]
        words = ["--nproc-per-node=2" if word.startswith("--nproc-per-node") else word for word in words]
        more = [] if "--resume" in words else ["--config", "tiny.yaml"]
        command = [sys.executable, "-m", "torch.distributed.run", *words, *more]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
    assert len(list((home / "runs").glob("*/summary.json"))) == 2


def test_parts_of_the_page_on_extending_work(in_folder: Path, tiny_run: Run, tiny_data: Path):
    parts: dict[str, Any] = {}
    for block in code_blocks(ROOT / "docs" / "extending.md", "python"):
        exec(compile(block, "extending.md", "exec"), parts)
    metric = parts["Confidence"](2, torch.device("cpu"))
    metric.update(torch.tensor([[0.0, 0.0], [0.0, 100.0]]), torch.tensor([0, 1]))
    assert metric.compute() == 0.75
    paths = sorted((tiny_data / "test").rglob("*.png"))
    rows = [f"{path},{path.parent.name}" for path in paths]
    (in_folder / "photos.csv").write_text("\n".join(["path,class_name", *rows]))
    assert parts["open_csv"]("photos", parts["SourceOptions"]()) is None
    source = parts["open_csv"]("csv:photos.csv", parts["SourceOptions"]())
    assert source.class_names == ("0", "1", "7")
    train = source.splits["train"]
    assert [(train.name(index), source.class_names[train.targets[index]]) for index in range(len(train))] == [
        (str(path), path.parent.name) for path in paths
    ]
    train.open(0, channels=3)
    model = tl.load(tiny_run.path)
    request = ExportRequest(model, ExportOptions(), no_val)
    assert parts["Classes"]().write(request, in_folder / "classes.txt") == {"classes": 3}
    assert (in_folder / "classes.txt").read_text().split() == ["0", "1", "7"]


def test_pages_show_the_commands_and_snippets_that_are_tried():
    assert len(commands(README)) == 13
    assert len(code_blocks(README, "python")) == 1
    assert all(len(commands(page)) == page.read_text(encoding="utf-8").count("\ntl ") for page in DOCS)
    assert all(len(transcripts(page)) == page.read_text(encoding="utf-8").count("\n$ tl ") for page in DOCS)


def test_two_commands_of_the_readme_stand_on_lines_of_their_own():
    text = README.read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.startswith("[ -d .venv ] || python3 -m venv .venv;")]
    assert [line.rpartition("&& ")[2] for line in lines] == [".venv/bin/tl finetune", ".venv/bin/python -m pytest"]


def test_commands_of_the_readme_show_how_far_pip_is():
    text = README.read_text(encoding="utf-8")
    installing = [line for line in text.splitlines() if "pip install" in line and "-m venv" in line]
    assert len(installing) == 2
    assert not [line for line in installing if re.search(r"\s(-q+|--quiet)\b", line)]


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub makes of a page's headings."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", LINKING, ids=lambda page: page.stem)
def test_page_links_to_files_and_headings_that_exist(page: Path):
    for link in re.findall(r"\]\((?!https?:)([^)\s]+)\)", page.read_text(encoding="utf-8")):
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_readme_is_short_and_links_to_every_page_of_docs():
    text = README.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 150
    assert set(re.findall(r"\]\(docs/(\w+\.md)", text)) == {page.name for page in DOCS}
