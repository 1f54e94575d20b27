"""Tensors as text, for headers that hold nothing else: float16 in base64."""

import base64
import binascii
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class PackedTensor:
    """A tensor in float16, as text.

    Attributes:
        shape: Its shape.
        values: Its values, little-endian, in base64.
    """

    shape: tuple[int, ...]
    values: str

    @classmethod
    def of(cls, tensor: "torch.Tensor") -> Self:
        """Pack a tensor, whose values lose all but 11 bits."""
        values = tensor.detach().cpu().half().contiguous().numpy().astype("<f2").tobytes()
        return cls(tuple(tensor.shape), base64.b64encode(values).decode("ascii"))

    def unpack(self) -> "torch.Tensor":
        """Return the tensor, float32; see `unpack_array`."""
        import torch  # Programs that run ONNX files have none.

        return torch.from_numpy(self.unpack_array())

    def unpack_array(self) -> NDArray[np.float32]:
        """Return the tensor as an array.

        Raises:
            ValueError: The text is damaged, of another shape, or holds what is no number.
        """
        try:
            content = base64.b64decode(self.values, validate=True)
        except binascii.Error as error:
            raise ValueError(f"a tensor is not base64: {error}") from error
        if any(size < 0 for size in self.shape) or len(content) != 2 * math.prod(self.shape):
            raise ValueError(f"a tensor of shape {self.shape} has {len(content)} bytes")
        array = np.frombuffer(content, "<f2").astype(np.float32).reshape(self.shape)
        if not np.isfinite(array).all():
            raise ValueError("a tensor holds values that are not finite")
        return array
