"""Reading pickles without running them."""

import io
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.helpers.pickles import Called
from tl_toolkit.models.inspection.outline import Outline, Remembered

MARK = Path("ran")


def outlined(thing: Any, protocol: int = 2) -> tuple[Any, Outline]:
    outline = Outline(io.BytesIO(pickle.dumps(thing, protocol)))
    return outline.load(), outline


@pytest.mark.parametrize("protocol", range(6))
def test_outline_of_a_call_runs_nothing(protocol: int, in_folder: Path):
    loaded, outline = outlined({"x": Called(os.mkdir, str(MARK))}, protocol)
    assert not MARK.exists()
    assert isinstance(loaded["x"], Remembered)
    assert (loaded["x"].full_name.rpartition(".")[2], loaded["x"].arguments) == ("mkdir", (str(MARK),))
    assert [name.rpartition(".")[2] for name in outline.names][-1] == "mkdir"


@pytest.mark.parametrize(
    "thing",
    [
        Called(eval, "open('ran', 'w')"),
        Called(os.system, "touch ran"),
        Called(map, print, [1]),
        [Called(exec, "raise SystemExit")],
    ],
)
def test_outline_imports_and_calls_nothing(thing: Any, in_folder: Path):
    outlined(thing)
    assert not MARK.exists()


def test_outline_keeps_what_an_object_is_filled_with():
    class_of = type(outlined(torch.device("cpu"))[0])
    assert issubclass(class_of, Remembered)
    layer, outline = outlined(torch.nn.ReLU())
    assert layer.full_name == "torch.nn.modules.activation.ReLU"
    assert layer.attributes["inplace"] is False
    assert "torch.nn.modules.activation.ReLU" in outline.names


def test_outline_of_a_memo_beyond_the_file_takes_no_memory():
    """The C unpickler reserves memory for every place up to that number."""
    damaged = b"\x80\x02Nr\xff\xff\xff\x7f."
    assert Outline(io.BytesIO(damaged)).load() is None
