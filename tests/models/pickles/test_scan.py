import collections
import functools
import pickle
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.pickles import Called
from tl_toolkit.errors import UnsafeFileError
from tl_toolkit.models.pickles.scan import named_globals, uses


class Thing:
    """Something with a state."""

    def __init__(self, **state: Any) -> None:
        self.__dict__.update(state)


def uses_of(thing: Any) -> list[tuple[str, str]]:
    return list(uses(pickle.dumps(thing, protocol=2)))


THING = f"{__name__}.Thing"


def test_uses_of_an_object_tells_what_is_made_called_and_kept():
    state = {"kept": len, "list": [bytearray, {"key": set}], "pair": (complex, 1), "none": (), "again": len, 1: 2.0}
    found = uses_of(Thing(**{str(key): value for key, value in state.items()}))
    names = {"builtins.len", "builtins.bytearray", "builtins.set", "builtins.complex"}
    assert found.count(("make", THING)) == 1
    assert {name for use, name in found if use == "keep"} == names
    assert not [name for use, name in found if use == "call"]
    assert [name for use, name in found if name == "builtins.len"] == ["builtins.len"] * 2


def test_uses_of_calls_tells_them_and_what_they_are_given():
    found = uses_of(Called(len, [1]))
    assert found == [("call", "builtins.len")]
    assert uses_of(collections.OrderedDict(a=set)) == [("call", "collections.OrderedDict"), ("keep", "builtins.set")]
    made = uses_of(functools.partial(len, [1]))
    assert ("call", "functools.partial") in made
    assert ("keep", "builtins.len") in made


def test_uses_of_a_class_made_with_arguments_is_a_call():
    point = collections.namedtuple("Point", ["x", "y"])
    globals()["Point"], point.__module__ = point, __name__
    assert ("call", f"{__name__}.Point") in uses_of(point(1, 2))


def test_uses_of_a_call_of_what_a_call_gave_refuses():
    with pytest.raises(UnsafeFileError, match="it calls what it did not name"):
        list(uses(b"\x80\x02c__main__\nf\n)R)R."))


@pytest.mark.parametrize("protocol", [0, 3, 4, 5])
def test_uses_of_other_protocols_refuses(protocol: int):
    with pytest.raises(UnsafeFileError, match="it has the instruction"):
        list(uses(pickle.dumps(Thing(a=b"bytes", b="text"), protocol=protocol)))


@pytest.mark.parametrize("pickled", [b"", b"\x80\x02R.", b"\x80\x02h\x00.", b"\x80\x02t.", b"\x80\x02cos\n"])
def test_uses_of_a_damaged_pickle_fails(pickled: bytes):
    with pytest.raises((ValueError, IndexError, KeyError)):
        list(uses(pickled))


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_named_globals_of_every_protocol_finds_them(protocol: int, tmp_path: Path):
    things = [Called(len, [1]), Called(len, [2]), Called(functools.partial, len)]
    (tmp_path / "a.pt").write_bytes(pickle.dumps(things, protocol=protocol))
    found = [name.replace("__builtin__", "builtins") for name in named_globals(tmp_path / "a.pt")]
    assert found == ["builtins.len", "functools.partial"]


def test_named_globals_of_no_pickle_is_none(tmp_path: Path):
    (tmp_path / "a.pt").write_bytes(b"not weights")
    assert named_globals(tmp_path / "a.pt") == []
