from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from tl_toolkit.errors import ModelFileError
from tl_toolkit.io import safetensors_file as tensor_files
from tl_toolkit.io.safetensors_file import DIGEST, load_checked, save_checked

TENSORS = {
    "weight": torch.arange(6.0).reshape(2, 3),
    "half": torch.ones(3, dtype=torch.bfloat16),
    "count": torch.tensor(7),
    "flags": torch.tensor([True, False]),
    "nothing": torch.empty(0, 3),
}
METADATA = {"classes": '["a", "ü"]', "format": "x"}


def test_sealed_file_read_back_gives_metadata_and_tensors(tmp_path: Path):
    path = tmp_path / "sealed.safetensors"
    save_checked(path, TENSORS, METADATA)
    metadata, tensors = load_checked(path)
    assert metadata == METADATA
    assert tensors.keys() == TENSORS.keys()
    assert all(
        torch.equal(tensors[name], value) and tensors[name].dtype == value.dtype for name, value in TENSORS.items()
    )


def test_digest_depends_on_everything_in_the_file_but_its_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def digest(tensors: dict[str, torch.Tensor], metadata: dict[str, str]) -> str:
        path = tmp_path / "sealed.safetensors"
        save_checked(path, tensors, metadata)
        with safe_open(path, framework="pt") as file:
            return file.metadata()[DIGEST]

    monkeypatch.setattr(tensor_files, "CHUNK_BYTES", 8)
    weight = TENSORS["weight"]
    same = digest(TENSORS, METADATA)
    assert digest(dict(reversed(TENSORS.items())), dict(reversed(METADATA.items()))) == same
    others = [
        digest({**TENSORS, "weight": weight.reshape(3, 2)}, METADATA),
        digest({**TENSORS, "weight": weight.view(torch.int32)}, METADATA),
        digest({**TENSORS, "weight": weight.flip(0)}, METADATA),
        digest({**TENSORS, "count": torch.tensor(8)}, METADATA),
        digest({**TENSORS, "another": torch.empty(0)}, METADATA),
        digest(TENSORS, {**METADATA, "format": "y"}),
    ]
    assert len({same, *others}) == 1 + len(others)


def test_read_sealed_of_changed_tensors_tells_both_digests(tmp_path: Path):
    path = tmp_path / "sealed.safetensors"
    save_checked(path, TENSORS, METADATA)
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    save_file({**load_file(path), "count": torch.tensor(8)}, path, metadata)
    with pytest.raises(
        ModelFileError, match=rf"is damaged: the digest .* is [0-9a-f]+, its header says {metadata[DIGEST]}; copy"
    ):
        load_checked(path)


def test_read_sealed_of_a_file_without_a_digest_reads_it(tmp_path: Path):
    path = tmp_path / "plain.safetensors"
    save_file(TENSORS, path)
    metadata, tensors = load_checked(path)
    assert metadata == {}
    assert torch.equal(tensors["weight"], TENSORS["weight"])
