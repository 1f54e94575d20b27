"""A metric that another package adds."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

import tl_toolkit as tl
from tests.another_package import install_part
from tests.helpers.folders import copy_digits
from tl_toolkit.cli.main import app
from tl_toolkit.errors import ToolkitError

SOURCE = """
import torch
from tl_toolkit.metrics.base import Metric

class Part(Metric):
    label = "mean logit of the target"
    format = "number"

    def __init__(self, classes, device):
        super().__init__(classes, device)
        self.sums, self.counts = torch.zeros(2, classes, device=device)

    def update(self, logits, targets):
        self.sums += torch.bincount(targets, logits.gather(1, targets[:, None])[:, 0], minlength=self.classes)
        self.counts += torch.bincount(targets, minlength=self.classes)

    def compute(self):
        return COMPUTED
"""
OF_ALL = SOURCE.replace("COMPUTED", "float(self.sums.sum() / self.counts.sum())")
OF_EACH_CLASS = SOURCE.replace("COMPUTED", "tuple((self.sums / self.counts).tolist())")
SETTINGS = {"arch": "lenet5", "weights": "none", "tune": "full", "epochs": 1, "threads": 1, "workers": 0}


@pytest.fixture
def digits(tmp_path: Path) -> Path:
    """Train and test images of two classes."""
    copy_digits(tmp_path / "digits" / "test", ["0", "1"], 4, "test")
    return copy_digits(tmp_path / "digits" / "train", ["0", "1"], 10).parent


def test_metric_of_another_package_is_in_every_result(
    digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_part(tmp_path, monkeypatch, "tl_toolkit.metrics target_logit", OF_ALL)
    run = tl.finetune(data=digits, out=tmp_path / "run", **SETTINGS)
    images = sorted((digits / "test").rglob("*.png"))
    logits = run.model.logits([*images]).tolist()
    expected = sum(row[int(path.parent.name)] for row, path in zip(logits, images, strict=True)) / len(images)
    assert expected != 0
    summary = json.loads((run.path / "summary.json").read_text())
    assert summary["test_target_logit"] == pytest.approx(expected, rel=1e-4)
    assert isinstance(summary["val_target_logit"], float)
    result = tl.evaluate(run.model, digits)
    assert result.scores.values["target_logit"] == result.metrics["target_logit"] == summary["test_target_logit"]
    command = ["evaluate", "--model", str(run.path), "--data", str(digits)]
    assert json.loads(CliRunner().invoke(app, [*command, "--json"]).stdout)["target_logit"] == pytest.approx(expected)
    rows = [line.rsplit(maxsplit=1) for line in CliRunner().invoke(app, command).stdout.splitlines() if "logit" in line]
    assert rows == [["mean logit of the target", f"{expected:.4f}"]]


def test_metric_of_each_class_is_a_column(digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tl.finetune(data=digits, out=tmp_path / "run", **SETTINGS)
    install_part(tmp_path, monkeypatch, "tl_toolkit.metrics target_logit", OF_EACH_CLASS)
    result = tl.evaluate(run.model, digits)
    assert list(result.metrics["target_logit"]) == ["0", "1"]
    shown = CliRunner().invoke(app, ["evaluate", "--model", str(run.path), "--data", str(digits)]).stdout
    lines = [line.split() for line in shown.splitlines()]
    heading = ["class", "images", "precision", "recall", "F1", "mean", "logit", "of", "the", "target"]
    table = lines[lines.index(heading) :][:3]
    for row in table[1:]:
        assert row[-1] == f"{result.metrics['target_logit'][row[0]]:.4f}"


def test_metric_that_cannot_be_imported_stops_a_run_before_it_begins(
    digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_part(tmp_path, monkeypatch, "tl_toolkit.metrics broken", "raise ImportError('no module')")
    with pytest.raises(ToolkitError, match="The metric broken .* cannot be imported: no module. Update or uninstall"):
        tl.finetune(data=digits, out=tmp_path / "run", **SETTINGS)
    assert not (tmp_path / "run").exists()
