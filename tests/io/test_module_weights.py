from pathlib import Path
from typing import Any

import pytest
import torch

import tl_toolkit as tl
from tests.helpers.exports import export_network
from tl_toolkit.input_spec import InputSpec
from tl_toolkit.io.module_weights import load_weights
from tl_toolkit.model_file import ModelMetadata


@pytest.mark.filterwarnings("ignore:A newer version of MNASNet")
def test_model_file_of_a_network_that_asks_for_its_version_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    module = tl.build_model("mnasnet0_5", 3, weights="none")
    metadata = ModelMetadata("torchvision:mnasnet0_5", "swap", 1000, tuple("abc"), InputSpec(height=32, width=32))
    written = export_network(module, metadata, "safetensors", tmp_path / "model.safetensors")
    assert written.comparison is not None
    assert written.comparison.identical
    loaded = tl.load(tmp_path / "model.safetensors").module.state_dict()
    assert all(torch.equal(value, loaded[name]) for name, value in module.state_dict().items())
    monkeypatch.chdir(tmp_path)
    made: dict[str, Any] = {}
    exec("\n".join(written.note["code"]), made)
    assert torch.equal(made["model"].state_dict()["classifier.1.weight"], loaded["classifier.1.weight"])


def test_weights_that_do_not_fit_are_refused():
    with pytest.raises(RuntimeError, match="size mismatch for weight"):
        load_weights(torch.nn.Linear(2, 3), torch.nn.Linear(3, 3).state_dict())
    with pytest.raises(RuntimeError, match=r"Missing key\(s\) in state_dict: \"bias\""):
        load_weights(torch.nn.Linear(2, 3), {"weight": torch.zeros(3, 2)})
    load_weights(torch.nn.Linear(2, 3), {"weight": torch.zeros(3, 2)}, strict=False)
