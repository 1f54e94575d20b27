"""The tensors of a file beside those of a network: what matches, what is missing, what is unexpected."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import zip_longest

import torch

from tl_toolkit.text import plural

MAX_ROWS = 12
"""Rows of a comparison in a message."""

MAX_NAME = 44
"""Characters of a name in it."""

COUNTED = "num_batches_tracked"
"""BatchNorm's counter, which files of torch before 0.4.1 lack and prediction does not need."""


@dataclass(frozen=True)
class Match:
    """The tensors of a file beside those of a network.

    Attributes:
        matched: Names that both have, with the same shape.
        missing: Names of the network that the file lacks.
        unexpected: Names of the file that the network lacks.
        reshaped: Names that both have, with the network's shape and the file's.
    """

    matched: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    reshaped: Mapping[str, tuple[tuple[int, ...], tuple[int, ...]]]

    @property
    def is_whole(self) -> bool:
        """Whether every tensor has its counterpart."""
        return not self.missing and not self.unexpected and not self.reshaped

    def describe(self) -> str:
        """Return in words how many match."""
        parts = {
            "missing from the file": len(self.missing),
            "not in the network": len(self.unexpected),
            "of another shape": len(self.reshaped),
        }
        others = [f"{count:,} {what}" for what, count in parts.items() if count]
        return ", ".join([f"{plural(len(self.matched), 'tensor')} matched", *others])

    def side_by_side(self) -> str:
        """Return what differs as lines: the network's names to the left, the file's to the right."""
        rows = [(f"{name} {_shape(own)}", _shape(found)) for name, (own, found) in self.reshaped.items()]
        rows += list(zip_longest(self.missing, self.unexpected, fillvalue="-"))
        shown = [(_short(own), _short(found)) for own, found in [("network", "file"), *rows[:MAX_ROWS]]]
        width = max(len(own) for own, _ in shown)
        lines = [f"  {own:<{width}}  {found}" for own, found in shown]
        if len(rows) > MAX_ROWS:
            lines.append(f"  ... and {len(rows) - MAX_ROWS:,} more")
        return "\n".join(lines)


def match(state: Mapping[str, torch.Tensor], own: Mapping[str, torch.Tensor]) -> Match:
    """Compare the tensors of a file with those of a network.

    Args:
        state: Names and tensors of the file.
        own: Those of the network.
    """
    shapes = {key: (tuple(own[key].shape), tuple(value.shape)) for key, value in state.items() if key in own}
    return Match(
        matched=tuple(key for key, (ours, theirs) in shapes.items() if ours == theirs),
        missing=tuple(key for key in own if key not in state and not key.endswith(COUNTED)),
        unexpected=tuple(key for key in state if key not in own),
        reshaped={key: both for key, both in shapes.items() if both[0] != both[1]},
    )


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "scalar"


def _short(name: str) -> str:
    return name if len(name) <= MAX_NAME else f"...{name[3 - MAX_NAME :]}"
