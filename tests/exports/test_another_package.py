"""An export format that another package adds."""

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

import tl_toolkit as tl
from tests.another_package import install_part
from tests.helpers.folders import copy_digits
from tl_toolkit.cli.main import app
from tl_toolkit.config.choices import EXPORT_FORMATS
from tl_toolkit.errors import ConfigError, ToolkitError

SOURCE = """
import json
from tl_toolkit.exports.base import ExportFormat

class Part(ExportFormat):
    description = "shapes of the tensors"
    file = "shapes.json"

    def write(self, request, path):
        model = request.model
        shapes = {name: list(value.shape) for name, value in model.module.state_dict().items()}
        path.write_text(json.dumps({"classes": model.class_names, "shapes": shapes}))
        return {}
"""
SETTINGS = {"arch": "lenet5", "weights": "none", "tune": "full", "epochs": 1, "threads": 1, "workers": 0}


@pytest.fixture
def digits(tmp_path: Path) -> Path:
    """Images of two classes."""
    return copy_digits(tmp_path / "digits", ["0", "1"], 10)


def test_format_of_another_package_is_exported_and_saved(
    digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_part(tmp_path, monkeypatch, "tl_toolkit.exports shapes", SOURCE)
    run = tl.finetune(data=digits, out=tmp_path / "run", save=["shapes", "state-dict"], **SETTINGS)
    saved = json.loads((run.path / "shapes.json").read_text())
    assert saved["classes"] == ["0", "1"]
    assert saved["shapes"]["classifier.weight"] == [2, 84]
    assert (run.path / "state_dict.pt").is_file()
    done = CliRunner().invoke(app, ["export", str(run.path), "--to", "shapes", "--out", str(tmp_path / "out.json")])
    assert (done.exit_code, done.stdout.splitlines()[2].split(maxsplit=1)) == (0, ["classes", "0, 1, in this order"])
    assert json.loads((tmp_path / "out.json").read_text()) == saved


def test_format_of_another_package_is_in_help_and_messages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install_part(tmp_path, monkeypatch, "tl_toolkit.exports shapes", SOURCE)
    wide = CliRunner(env={"COLUMNS": "600", "NO_COLOR": "1"})
    assert "; shapes: shapes of the tensors" in wide.invoke(app, ["export", "--help"]).stdout
    assert re.search(r"One of state-dict, .*, shapes\.", wide.invoke(app, ["finetune", "--help-all"]).stdout)
    done = wide.invoke(app, ["export", "run", "--to", "foo", "--out", "x"])
    message = f"No export format is named 'foo'. Choose from {', '.join(EXPORT_FORMATS)}."
    assert (done.exit_code, done.stderr) == (2, f"Error: {message}\n")
    with pytest.raises(ConfigError, match="save must be state-dict or .* or shapes, not"):
        tl.FinetuneConfig(save=("safetensors",))


def test_format_that_cannot_be_imported_stops_a_run_before_it_begins(
    digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_part(tmp_path, monkeypatch, "tl_toolkit.exports broken", "raise ImportError('no module')")
    with pytest.raises(ToolkitError, match="The export format broken .* cannot be imported: no module. Update or"):
        tl.finetune(data=digits, out=tmp_path / "run", save=["broken"], **SETTINGS)
    assert not (tmp_path / "run").exists()
