import io
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import save

from tl_toolkit.errors import ModelFileError
from tl_toolkit.models.weights.file_kinds import describe_other, describe_unknown, kind_of

STATE = {"weight": torch.zeros(3)}


def pickled(value: Any, zipped: bool = True) -> bytes:
    file = io.BytesIO()
    torch.save(value, file, _use_new_zipfile_serialization=zipped)
    return file.getvalue()


def archive(*names: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as members:
        for name in names:
            members.writestr(name, b"0" * 100)
    return file.getvalue()


def image(form: str) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (9, 7)).save(file, form)
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (save(STATE), "safetensors"),
        (save(STATE)[:40], "safetensors"),
        (pickled(STATE), "torch"),
        (pickled(torch.nn.Linear(2, 2))[:100], "torch"),
        (pickled(STATE, zipped=False), "torch"),
        (b"\x08\x0a\x12\x07pytorch\x1a\x0c", "onnx"),
        (archive("model/archive_format", "model/data/sample_inputs/data.pkl"), "exported"),
        (archive("a/data/weights/weight_0", "a/archive_format")[:60], "exported"),
        (b"", None),
        (save(STATE)[:8], None),
        (image("JPEG"), None),
        (b"PK\x03\x04 and no more", None),
        (b"arch: resnet18\n", None),
        (b'{"a": {"b": 1}}', None),
    ],
    ids=[
        *("safetensors", "cut safetensors", "zipped state_dict", "cut zip", "state_dict", "ONNX", "pt2", "cut pt2"),
        *("empty", "length alone"),
        *("JPEG", "zip", "YAML", "JSON"),
    ],
)
def test_kind_of_a_file_is_told_by_its_content(content: bytes, kind: str | None, tmp_path: Path):
    (tmp_path / "cat.jpg").write_bytes(content)
    assert kind_of(tmp_path / "cat.jpg") == kind


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (image("JPEG"), "an image (JPEG)"),
        (image("PNG")[:60], "an image (PNG)"),
        (b"arch: resnet18\nepochs: 3\n", "a text file"),
        ("Größe: 3 🐝".encode() * 1000, "a text file"),
        (b"PK\x03\x04 and no more", "a zip archive"),
        (b"%PDF-1.7 and more", "a PDF document"),
        (b"\x08\x0a\x12\x07pytorch", "an ONNX file, which only predicts"),
        (archive("a/archive_format"), "a program of torch.export, which only predicts"),
        (b"\x89HDF\r\n\x1a\n and more", "an HDF5 file, as Keras writes it"),
        (b"", ""),
        (b"\0\1\2\3\4\5\6\7\10\11", ""),
        (b"few", ""),
    ],
)
def test_describe_other_says_what_a_file_is(content: bytes, what: str, tmp_path: Path):
    (tmp_path / "model.safetensors").write_bytes(content)
    assert describe_other(tmp_path / "model.safetensors") == what


def test_describe_unknown_tells_how_a_file_begins(tmp_path: Path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(bytes(range(9)))
    expected = "expected a safetensors file or one of torch.save, but it"
    again = "If it was one, copy it again from where it is whole"
    assert describe_unknown(path) == (
        f"{expected} begins with the bytes 00 01 02 03 04 05 06 07, as neither of them does. {again}"
    )
    path.write_bytes(b"")
    assert describe_unknown(path) == f"{expected} is empty. {again}"


def test_kind_of_a_file_that_cannot_be_read_says_so(tmp_path: Path):
    with pytest.raises(ModelFileError, match="nowhere cannot be read: No such file or directory"):
        kind_of(tmp_path / "nowhere")
