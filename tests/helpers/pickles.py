"""Pickles that would run code."""

from typing import Any


class Called:
    """Something that is pickled as a call of anything with anything."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self.call
