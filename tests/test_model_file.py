import dataclasses
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tl_toolkit.errors import ModelFileError
from tl_toolkit.input_spec import InputSpec
from tl_toolkit.model_file import ModelMetadata, read_metadata, read_weights, save_model

CARD = ModelMetadata(
    "torchvision:resnet18",
    "swap",
    200,
    ("ant", "Biene 🐝"),
    InputSpec(),
    arch_options={"zero_init_residual": True},
    one_logit=True,
    loss="bce",
    weights="bundled",
    weights_license="Apache-2.0",
    metrics={"val_accuracy": 0.5},
)


def test_save_model_read_back_gives_card_and_weights(tmp_path: Path):
    path = tmp_path / "model.safetensors"
    shared = torch.arange(6.0).reshape(2, 3)
    save_model(path, {"a": shared, "same": shared, "turned": shared.t()}, CARD)
    assert read_metadata(path) == CARD
    weights = read_weights(path)
    assert torch.equal(weights["same"], shared)
    assert torch.equal(weights["turned"], shared.t())


def test_read_card_of_foreign_safetensors_says_so(tmp_path: Path):
    path = tmp_path / "other.safetensors"
    save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(ModelFileError, match="it was not written by tl finetune"):
        read_metadata(path)


def test_read_card_of_a_newer_format_says_update(tmp_path: Path):
    path = tmp_path / "newer.safetensors"
    save_file({"a": torch.zeros(1)}, path, {**CARD.to_metadata(), "format_version": "2"})
    with pytest.raises(ModelFileError, match="its format is version 2, this tl reads 1; update tl"):
        read_metadata(path)


def test_read_card_of_a_file_without_a_licence_leaves_it_unknown(tmp_path: Path):
    metadata = CARD.to_metadata()
    del metadata["weights_license"]
    save_file({"a": torch.zeros(1)}, tmp_path / "older.safetensors", metadata)
    assert read_metadata(tmp_path / "older.safetensors") == dataclasses.replace(CARD, weights_license="")


@pytest.mark.parametrize("field", ["class_names", "input_spec", "base_classes", "metrics"])
@pytest.mark.parametrize("value", ["", "{", "null", "[1]"])
def test_read_card_with_a_damaged_field_raises(tmp_path: Path, field: str, value: str):
    path = tmp_path / "damaged.safetensors"
    save_file({"a": torch.zeros(1)}, path, {**CARD.to_metadata(), field: value})
    with pytest.raises(ModelFileError):
        read_metadata(path)


def test_read_of_a_truncated_file_raises_at_every_tenth(tmp_path: Path):
    whole = tmp_path / "model.safetensors"
    save_model(whole, {"a": torch.randn(100)}, CARD)
    content = whole.read_bytes()
    for tenth in range(10):
        path = tmp_path / f"{tenth}.safetensors"
        path.write_bytes(content[: len(content) * tenth // 10])
        with pytest.raises(ModelFileError):
            read_metadata(path)
        with pytest.raises(ModelFileError):
            read_weights(path)


@pytest.mark.parametrize("names", [[], ["one"], ["same", "same"], [1, 2]])
def test_read_card_with_senseless_class_names_raises(tmp_path: Path, names: list[object]):
    path = tmp_path / "model.safetensors"
    save_file({"a": torch.zeros(1)}, path, {**CARD.to_metadata(), "class_names": json.dumps(names)})
    with pytest.raises(ModelFileError, match="its class names"):
        read_metadata(path)
