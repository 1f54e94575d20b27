import json
import sys
from pathlib import Path

import pytest

import tl_toolkit as tl
from tests.benchmarks import onnx_speed
from tl_toolkit.recipes.finetune import Run


@pytest.mark.parametrize("form", ["torch fp32", "ONNX fp32"])
def test_form_of_a_run_is_measured(
    form: str,
    judged_run: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    model = judged_run.path
    if form.startswith("ONNX"):
        model = tl.export(model, "onnx", out=tmp_path / "model.onnx").path
    options = ("--model", str(model), "--form", form, "--cores", "1", "--seconds", "0")
    monkeypatch.setattr(sys, "argv", ["onnx_speed", *options])
    onnx_speed.main()
    found = json.loads(capsys.readouterr().out)
    assert found["images_per_second"] > 0 < found["milliseconds"]


def test_photograph_is_asked_for_before_anything_is_exported(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(sys, "argv", ["onnx_speed", "--model", "run"])
    with pytest.raises(SystemExit):
        onnx_speed.main()
    assert "--image: a photograph for tl predict" in capsys.readouterr().err
