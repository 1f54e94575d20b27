"""``tl report``."""

import importlib.util
import json
import shutil
from pathlib import Path

import pytest
import torch

from tests.helpers.terminal import run_tl
from tl_toolkit.recipes.finetune import Run
from tl_toolkit.runs import report_map


@pytest.fixture
def folder(tiny_run: Run, in_folder: Path) -> Path:
    """A run below runs/ of the working directory."""
    ignored = shutil.ignore_patterns("*.pt", "report.html")
    return Path(shutil.copytree(tiny_run.path, in_folder / "runs" / "tiny", ignore=ignored))


def test_report_of_the_newest_run_prints_where_it_is(folder: Path):
    done = run_tl("report")
    assert done.exit_code == 0, done.output
    assert done.stdout.split() == ["report", "runs/tiny/report.html"]
    assert (folder / "report.html").is_file()


def test_report_as_json_prints_the_paths(folder: Path):
    done = run_tl("report", "runs/tiny", "--out", "mail.html", "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout) == {"run": "runs/tiny", "report": "mail.html"}
    assert not (folder / "report.html").exists()


def test_report_into_a_file_that_exists_is_refused_before_torch_is_imported(folder: Path):
    (folder.parent.parent / "mail.html").write_text("mine")
    done = run_tl("report", "runs/tiny", "--out", "mail.html")
    assert done.exit_code == 2
    assert "mail.html exists; nothing is ever overwritten. Choose another --out." in done.stderr
    assert (folder.parent.parent / "mail.html").read_text() == "mine"


def test_report_of_a_run_that_is_not_there_is_refused(in_folder: Path):
    done = run_tl("report", in_folder / "nothing")
    assert done.exit_code == 2
    assert "is not a run folder: it has no config.yaml. Give a folder that `tl finetune` wrote." in done.stderr


@pytest.mark.usefixtures("in_folder")
def test_report_without_any_run_says_how_to_train_one():
    done = run_tl("report")
    assert done.exit_code == 2
    assert "Train one with `tl finetune`" in done.stderr


def test_report_without_the_images_says_how_to_name_them(folder: Path):
    config = (folder / "config.yaml").read_text()
    [line] = [line for line in config.splitlines() if line.startswith("data: ")]
    (folder / "config.yaml").write_text(config.replace(line, "data: /nowhere/photos"))
    done = run_tl("report", "runs/tiny")
    assert done.exit_code == 0, done.output
    assert "There is no folder '/nowhere/photos'" in done.stderr
    assert "--data DATA says where they are." in done.stderr


def test_report_with_a_map_by_umap_says_so(folder: Path, monkeypatch: pytest.MonkeyPatch):
    seen: list[tuple[int, ...]] = []

    def project(features: torch.Tensor, method: str) -> torch.Tensor:
        seen.append((*features.shape, int(features.isfinite().all())))
        return features[:, :2]

    monkeypatch.setattr(report_map, "project", project)  # umap-learn compiles for half a minute.
    done = run_tl("report", "runs/tiny", "--map", "umap")
    assert done.exit_code == 0, done.output
    assert seen == [(18, 512, 1)]
    assert "by UMAP: neighbours stay neighbours" in (folder / "report.html").read_text()


def test_report_with_a_map_by_umap_needs_the_images_and_the_package(folder: Path, monkeypatch: pytest.MonkeyPatch):
    config = (folder / "config.yaml").read_text()
    [line] = [line for line in config.splitlines() if line.startswith("data: ")]
    (folder / "config.yaml").write_text(config.replace(line, "data: /nowhere/photos"))
    done = run_tl("report", "runs/tiny", "--map", "umap")
    assert (done.exit_code, "Say where the images are with --data" in " ".join(done.stderr.split())) == (2, True)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    done = run_tl("report", "runs/tiny", "--map", "umap")
    assert (done.exit_code, "needs umap-learn" in done.stderr) == (2, True)
