"""Weights of .pt2 archives, read without running what is in them."""

import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from tl_toolkit.errors import ModelFileError
from tl_toolkit.io.exported_program import read_program


class Tied(nn.Module):
    """Layers of several types, and two names for one tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(3, 3), nn.Linear(3, 3)
        self.second.weight = self.first.weight
        self.small = nn.Parameter(torch.randn(3, 4).half())
        self.register_buffer("count", torch.tensor(7))
        self.register_buffer("none", torch.zeros(0, 2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (self.second(self.first(x)) @ self.small.float()) * self.count + self.none.sum()


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, nn.Module]:
    path, module = tmp_path_factory.mktemp("pt2") / "a.pt2", Tied().eval()
    torch.export.save(torch.export.export(module, (torch.zeros(2, 3),)), path, extra_files={"tl_toolkit.json": "ä"})
    return path, module


def test_read_program_gives_the_bits_of_all_tensors(exported: tuple[Path, nn.Module]):
    path, module = exported
    weights, header = read_program(path)
    expected = module.state_dict()
    assert header == "ä"
    assert weights.keys() == expected.keys()
    for name, tensor in expected.items():
        assert weights[name].dtype == tensor.dtype
        assert torch.equal(weights[name], tensor)


def change(path: Path, out: Path, member: str, change: Callable[[bytes], bytes]) -> Path:
    """Write an archive again, with one member changed."""
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            new.writestr(name, change(old.read(name)) if name.endswith(member) else old.read(name))
    return out


def test_read_program_of_an_archive_without_our_header_has_none(exported: tuple[Path, nn.Module], tmp_path: Path):
    path = tmp_path / "b.pt2"
    with zipfile.ZipFile(exported[0]) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            if "extra/" not in name:
                new.writestr(name, old.read(name))
    assert read_program(path)[1] == ""


def test_read_program_unpickles_nothing(exported: tuple[Path, nn.Module], tmp_path: Path):
    class Harm:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.touch, (tmp_path / "harm",)  # type: ignore[return-value]

    harm = pickle.dumps(Harm())
    path = change(exported[0], tmp_path / "a.pt2", "sample_inputs/model.pt", lambda _: harm)
    assert read_program(path)[0].keys() == exported[1].state_dict().keys()

    def pickled(content: bytes) -> bytes:
        config = json.loads(content)
        config["config"]["first.weight"]["use_pickle"] = True
        return json.dumps(config).encode()

    path = change(path, tmp_path / "b.pt2", "weights_config.json", pickled)
    with pytest.raises(ModelFileError, match="it is damaged: its weights are pickled, which tl does not load"):
        read_program(path)
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("dtype", 9, "its weights are of the unknown type 9"),
        ("sizes", [{"as_int": 30}, {"as_int": 3}], "it is damaged: .*out of bounds"),
        ("strides", [{"as_expr": "x"}], "it is damaged: "),
    ],
)
def test_read_program_of_a_damaged_list_of_weights_says_so(
    key: str, value: object, message: str, exported: tuple[Path, nn.Module], tmp_path: Path
):
    def changed(content: bytes) -> bytes:
        config = json.loads(content)
        config["config"]["first.weight"]["tensor_meta"][key] = value
        return json.dumps(config).encode()

    path = change(exported[0], tmp_path / "a.pt2", "weights_config.json", changed)
    with pytest.raises(ModelFileError, match=message):
        read_program(path)


def test_read_program_of_changed_bytes_says_that_it_is_damaged(exported: tuple[Path, nn.Module], tmp_path: Path):
    content = bytearray(exported[0].read_bytes())
    with zipfile.ZipFile(exported[0]) as archive:
        [entry] = [each for each in archive.infolist() if each.filename.endswith("weights/weight_0")]
    content[entry.header_offset + 200] ^= 1
    (tmp_path / "a.pt2").write_bytes(content)
    with pytest.raises(ModelFileError, match="it is damaged: "):
        read_program(tmp_path / "a.pt2")
    (tmp_path / "a.pt2").write_bytes(content[:3000])
    with pytest.raises(ModelFileError, match="it is damaged: File is not a zip file"):
        read_program(tmp_path / "a.pt2")
