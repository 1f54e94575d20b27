"""Reading, without running it, what a pickle does with the classes and functions that it names."""

import contextlib
import pickletools
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any, Literal

from tl_toolkit.errors import UnsafeFileError

Use = Literal["make", "call", "keep"]
"""Making an object without `__init__`, calling, or keeping as a value that a forward pass may call."""

CONSTANTS = {
    *("NONE", "NEWTRUE", "NEWFALSE", "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE"),
    *("SHORT_BINSTRING", "EMPTY_LIST", "EMPTY_DICT", "EMPTY_SET"),
}
TAKEN = {"BUILD": 1, "APPEND": 1, "SETITEM": 2, "BINPERSID": 1, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
"""Number of items that an instruction takes from the stack."""
TAKEN_TO_MARK = {"TUPLE", "APPENDS", "SETITEMS"}

LEGACY_PICKLES = 4
"""Pickles in a file of torch before 1.6: three about the file, then the object."""

EMPTY: tuple[()] = ()
THING = object()
"""An item of the stack that is neither a name nor an empty tuple."""


class _Name(str):
    """Full name of a class or function on the stack."""

    __slots__ = ()


def uses(pickled: bytes) -> Iterator[tuple[Use, str]]:
    """Yield what a pickle does with names, in its order.

    Args:
        pickled: Bytes of the pickle.

    Yields:
        A use and a full name.

    Raises:
        UnsafeFileError: It has instructions that torch's restricted unpickler does not know
            (torch/_weights_only_unpickler.py), or calls something without a name.
        ValueError, IndexError, KeyError: It is damaged.
    """
    machine = _Machine()
    for opcode, argument, _ in pickletools.genops(pickled):
        yield from machine.step(opcode.name, argument)
    yield from _kept(machine.stack)


class _Machine:
    """The stack and the memo of an unpickler, on which only names and empty tuples are told apart from other items."""

    def __init__(self) -> None:
        self.stack: list[object] = []
        self._below: list[list[object]] = []
        self._memo: dict[int, object] = {}

    def step(self, instruction: str, argument: Any) -> Iterator[tuple[Use, str]]:
        """Execute an instruction on the stack, and yield what it does with names."""
        if instruction in ("REDUCE", "NEWOBJ"):
            arguments, what = self.stack.pop(), self.stack.pop()
            if not isinstance(what, _Name):
                raise UnsafeFileError("it calls what it did not name")
            yield "make" if instruction == "NEWOBJ" and arguments == EMPTY else "call", what
            yield from _kept([arguments])
            self.stack.append(THING)
        elif instruction in TAKEN or instruction in TAKEN_TO_MARK:
            yield from _kept(self._take(instruction))
        elif instruction not in ("PROTO", "STOP"):
            self._put(instruction, argument)

    def _take(self, instruction: str) -> list[object]:
        """Take the items that go into a tuple, a tensor or the container below them."""
        if instruction in TAKEN:
            taken = [self.stack.pop() for _ in range(TAKEN[instruction])]
        else:
            taken, self.stack = self.stack, self._below.pop()
        if instruction.startswith("TUPLE") or instruction == "BINPERSID":
            self.stack.append(THING if taken else EMPTY)
        return taken

    def _put(self, instruction: str, argument: Any) -> None:
        match instruction:
            case "GLOBAL":
                self.stack.append(_Name(_full_name(argument)))
            case "MARK":
                self._below.append(self.stack)
                self.stack = []
            case "BINPUT" | "LONG_BINPUT":
                self._memo[argument] = self.stack[-1]
            case "BINGET" | "LONG_BINGET":
                self.stack.append(self._memo[argument])
            case "EMPTY_TUPLE":
                self.stack.append(EMPTY)
            case _ if instruction in CONSTANTS:
                self.stack.append(THING)
            case _:
                raise UnsafeFileError(f"it has the instruction {instruction}, which no network needs")


def named_globals(path: Path) -> list[str]:
    """Return the classes and functions that a file of torch.save or a pickle names; torch reports one or none."""
    names: dict[str, None] = {}
    with contextlib.suppress(Exception), contextlib.ExitStack() as opened:  # Damage ends the search.
        if zipfile.is_zipfile(path):
            archive = opened.enter_context(zipfile.ZipFile(path))
            pickled = next(name for name in archive.namelist() if name.endswith("/data.pkl"))
            file = opened.enter_context(archive.open(pickled))
        else:
            file = opened.enter_context(path.open("rb"))
        for _ in range(LEGACY_PICKLES):
            names.update((name, None) for name in _names(file))
    return list(names)


def _names(file: IO[bytes]) -> Iterator[str]:
    """Yield the names in one pickle; newer protocols put module and name on the stack as texts."""
    recent: list[str] = []
    memo: list[str] = []
    for opcode, argument, _ in pickletools.genops(file):
        if opcode.name == "GLOBAL":
            yield _full_name(str(argument))
        elif opcode.name == "STACK_GLOBAL":
            yield ".".join(recent[-2:])
        elif opcode.name == "MEMOIZE":
            memo.append(recent[-1] if recent else "")
        elif opcode.name in ("BINGET", "LONG_BINGET") and isinstance(argument, int) and argument < len(memo):
            recent.append(memo[argument])
        elif isinstance(argument, str):
            recent.append(argument)


def _kept(things: Iterable[object]) -> Iterator[tuple[Use, str]]:
    for thing in things:
        if isinstance(thing, _Name):
            yield "keep", thing


def _full_name(argument: str) -> str:
    module, _, name = argument.partition(" ")
    return f"{'builtins' if module == '__builtin__' else module}.{name}"  # Python 2's name, as torch.save writes it.
