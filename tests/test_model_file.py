import dataclasses
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tl_toolkit.errors import ModelFileError
from tl_toolkit.input_spec import InputSpec
from tl_toolkit.io.packed_tensors import PackedTensor
from tl_toolkit.model_file import (
    ModelMetadata,
    NoveltyNote,
    SplitFingerprints,
    read_metadata,
    read_weights,
    save_model,
)

METADATA = ModelMetadata(
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
FINGERPRINTS = SplitFingerprints.of(
    {"train": [b"12345", b"abcde", b"12345"], "val": [b"vwxyz"], "test": []}, ("train",)
)


def test_save_model_read_back_gives_metadata_and_weights(tmp_path: Path):
    path = tmp_path / "model.safetensors"
    shared = torch.arange(6.0).reshape(2, 3)
    save_model(path, {"a": shared, "same": shared, "turned": shared.t()}, METADATA)
    assert read_metadata(path) == METADATA
    weights = read_weights(path)
    assert torch.equal(weights["same"], shared)
    assert torch.equal(weights["turned"], shared.t())


def test_read_metadata_of_foreign_safetensors_says_so(tmp_path: Path):
    path = tmp_path / "other.safetensors"
    save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(ModelFileError, match="it was not written by tl finetune"):
        read_metadata(path)


def test_read_metadata_of_a_newer_format_says_update(tmp_path: Path):
    path = tmp_path / "newer.safetensors"
    save_file({"a": torch.zeros(1)}, path, {**METADATA.to_metadata(), "format_version": "3"})
    with pytest.raises(ModelFileError, match="its format is version 3, this tl reads 1 and 2; update tl"):
        read_metadata(path)


def test_read_metadata_of_a_file_without_a_licence_leaves_it_unknown(tmp_path: Path):
    metadata = METADATA.to_metadata()
    del metadata["weights_license"]
    save_file({"a": torch.zeros(1)}, tmp_path / "older.safetensors", metadata)
    assert read_metadata(tmp_path / "older.safetensors") == dataclasses.replace(METADATA, weights_license="")


@pytest.mark.parametrize("field", ["class_names", "input_spec", "base_classes", "metrics"])
@pytest.mark.parametrize("value", ["", "{", "null", "[1]", "[1, 2]"])
def test_read_metadata_with_a_damaged_field_raises(tmp_path: Path, field: str, value: str):
    path = tmp_path / "damaged.safetensors"
    save_file({"a": torch.zeros(1)}, path, {**METADATA.to_metadata(), field: value})
    with pytest.raises(ModelFileError):
        read_metadata(path)


@pytest.mark.parametrize("field", ["architecture", "base_classes", "class_names", "input_spec", "weights", "metrics"])
def test_read_metadata_without_a_field_says_which(tmp_path: Path, field: str):
    metadata = METADATA.to_metadata()
    del metadata[field]
    save_file({"a": torch.zeros(1)}, tmp_path / "model.safetensors", metadata)
    with pytest.raises(ModelFileError, match=f"its header is damaged .*{field}"):
        read_metadata(tmp_path / "model.safetensors")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"loss": "huber"}, r"Invalid enum value 'huber' - at `\$.loss`"),
        ({"one_logit": "1"}, r"Expected `bool`, got `int` - at `\$.one_logit`"),
        ({"class_names": '["a", "b", "c"]'}, "it has one logit, but 3 classes"),
        ({"base_classes": "0"}, "its base_classes 0 are not 1 to 1,048,576"),
        ({"base_classes": "1048577"}, "its base_classes 1048577 are not 1 to 1,048,576"),
        ({"base_classes": "true"}, r"Expected `int`, got `bool` - at `\$.base_classes`"),
    ],
)
def test_read_metadata_with_a_senseless_value_says_which(change: dict[str, str], message: str):
    with pytest.raises(ModelFileError, match=message):
        ModelMetadata.from_metadata({**METADATA.to_metadata(), **change})


def test_read_of_a_truncated_file_raises_at_every_tenth(tmp_path: Path):
    whole = tmp_path / "model.safetensors"
    save_model(whole, {"a": torch.randn(100)}, METADATA)
    content = whole.read_bytes()
    for tenth in range(10):
        path = tmp_path / f"{tenth}.safetensors"
        path.write_bytes(content[: len(content) * tenth // 10])
        with pytest.raises(ModelFileError):
            read_metadata(path)
        with pytest.raises(ModelFileError):
            read_weights(path)


@pytest.mark.parametrize("names", [[], ["one"], ["same", "same"]])
def test_read_metadata_with_senseless_class_names_raises(tmp_path: Path, names: list[object]):
    path = tmp_path / "model.safetensors"
    save_file({"a": torch.zeros(1)}, path, {**METADATA.to_metadata(), "class_names": json.dumps(names)})
    with pytest.raises(ModelFileError, match="its class names"):
        read_metadata(path)


def test_split_fingerprints_written_and_read_are_the_same():
    read = SplitFingerprints.from_dict(json.loads(json.dumps(FINGERPRINTS.to_dict())))
    assert read == FINGERPRINTS
    assert read.seen() == read.fingerprints("train") == {b"12345", b"abcde"}
    assert read.fingerprints("val") == {b"vwxyz"}
    assert read.fingerprints("test") == read.fingerprints("other") == frozenset()


def test_split_fingerprints_of_100_000_images_take_less_than_a_megabyte():
    prints = [number.to_bytes(5, "little") for number in range(100_000)]
    text = json.dumps(SplitFingerprints.of({"train": prints[:80_000], "val": prints[80_000:]}, ("train",)).to_dict())
    assert len(text) == 666_730


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([], "split_note: Expected `object`, got `array`"),
        ({"learned": ["train"]}, "split_note: Object missing required field `splits`"),
        ({"learned": ["train"], "splits": {"train": 1}}, r"split_note: Expected `str`, got `int` - at `\$.splits"),
        ({"learned": ["val"], "splits": {"train": ""}}, "learned of split_note must name its splits"),
        ({"learned": "train", "splits": {"train": ""}}, r"split_note: Expected `array`, got `str` - at `\$.learned`"),
    ],
)
def test_split_fingerprints_of_wrong_types_are_refused(values: object, message: str):
    with pytest.raises(ValueError, match=message):
        SplitFingerprints.from_dict(values)


@pytest.mark.parametrize("packed", ["a", "ä", "****"])
def test_split_fingerprints_that_are_damaged_say_so(packed: str):
    with pytest.raises(ModelFileError, match="The model file's note of its train images is damaged"):
        SplitFingerprints({"train": packed}, ("train",)).seen()


LABELS = dataclasses.replace(METADATA, one_logit=False, task="multi-label", thresholds=(0.25, 0.6))


def test_file_of_several_labels_keeps_thresholds_and_is_refused_by_readers_that_know_none(tmp_path: Path):
    path = tmp_path / "model.safetensors"
    save_model(path, {"a": torch.zeros(1)}, LABELS)
    assert read_metadata(path) == LABELS
    assert LABELS.to_metadata()["format_version"] == "2"
    assert METADATA.to_metadata()["format_version"] == "1"
    assert not {"task", "thresholds"} & METADATA.to_metadata().keys()
    soft = dataclasses.replace(LABELS, task="soft", thresholds=())
    assert soft.to_metadata()["format_version"] == "1"
    assert ModelMetadata.from_metadata(soft.to_metadata()) == soft


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("thresholds", "[0.5]", "it has 1 thresholds, but 2 classes"),
        ("thresholds", "[0.5, 1.5]", "its thresholds are not from 0 to 1"),
        ("thresholds", "[0.5, NaN]", "its thresholds are not from 0 to 1"),
        ("task", "many", "its header is damaged (Invalid enum value 'many' - at `$.task`)"),
        ("one_logit", "true", "it has one logit, but its task is multi-label"),
    ],
)
def test_file_of_several_labels_with_values_that_make_no_sense_says_so(field: str, value: str, message: str):
    with pytest.raises(ModelFileError) as raised:
        ModelMetadata.from_metadata({**LABELS.to_metadata(), field: value})
    assert str(raised.value) == message


def test_metadata_with_a_temperature_and_statistics_read_back_is_the_same(tmp_path: Path):
    packed = PackedTensor((1, 2), "AAAAAA==")
    note = NoveltyNote("fc", 9, 20, 1, 1.5, (2.0, -0.5, 0.25), packed, packed, None, packed, (0.5,), 0.1)
    metadata = dataclasses.replace(METADATA, temperature=0.5, novelty=note)
    save_model(tmp_path / "model.safetensors", {"a": torch.zeros(1)}, metadata)
    assert read_metadata(tmp_path / "model.safetensors") == metadata


def test_metadata_without_a_temperature_and_statistics_is_as_earlier_versions_wrote_it():
    assert not {"temperature", "novelty"} & METADATA.to_metadata().keys()


@pytest.mark.parametrize("value", ["[]", "null1", '{"layer": "fc"}'])
def test_read_metadata_with_damaged_statistics_raises(tmp_path: Path, value: str):
    path = tmp_path / "damaged.safetensors"
    save_file({"a": torch.zeros(1)}, path, {**METADATA.to_metadata(), "novelty": value})
    with pytest.raises(ModelFileError, match="its header is damaged"):
        read_metadata(path)
