"""What is inside a file of a model."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

BYTES = {"bool": 1, "uint8": 1, "int8": 1, "int16": 2, "uint16": 2, "float16": 2, "bfloat16": 2, "float64": 8}
BYTES |= {"int64": 8, "uint64": 8, "complex64": 8, "complex128": 16, "qint8": 1, "quint8": 1}
USUAL_BYTES = 4
"""Of float32, int32 and the like; types of 8 bits that only some accelerators have are named by their bits."""


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """A tensor in a file.

    Attributes:
        name: Its name in the network.
        dtype: Its type, such as "float32".
        shape: Its shape.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def numbers(self) -> int:
        """How many numbers it holds."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Its size in bytes."""
        return self.numbers * (1 if self.dtype.startswith("float8") else BYTES.get(self.dtype, USUAL_BYTES))

    @property
    def size(self) -> str:
        """Its shape in words, such as 64x3x7x7."""
        return "x".join(map(str, self.shape)) or "scalar"


@dataclass(frozen=True)
class Content:
    """What is inside a file.

    Attributes:
        format: What the file is, in words.
        tensors: Its tensors, in its order.
        arch: The network, if the file names it.
        header: The metadata that tl wrote, as in a safetensors header; empty in files of others.
        facts: What else it says, by name.
        code: Classes and functions that it names beside those that rebuild tensors; empty in files that name none.
    """

    format: str
    tensors: Sequence[StoredTensor] = ()
    arch: str = ""
    header: Mapping[str, str] = field(default_factory=dict)
    facts: Mapping[str, str] = field(default_factory=dict)
    code: Sequence[str] = ()

    @property
    def dtypes(self) -> dict[str, int]:
        """Number of tensors of each type, the most frequent first."""
        return dict(Counter(tensor.dtype for tensor in self.tensors).most_common())

    def largest(self, count: int) -> list[StoredTensor]:
        """Return the largest tensors, the largest first."""
        return sorted(self.tensors, key=lambda tensor: -tensor.nbytes)[:count]
