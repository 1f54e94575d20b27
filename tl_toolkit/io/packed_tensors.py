"""Tensors as text, for headers that hold nothing else: float16 in base64."""

import base64
import binascii
import math
from dataclasses import dataclass
from typing import Self

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
    def of(cls, tensor: torch.Tensor) -> Self:
        """Pack a tensor, whose values lose all but 11 bits."""
        values = tensor.detach().cpu().to(torch.float16).contiguous().numpy().astype("<f2").tobytes()
        return cls(tuple(tensor.shape), base64.b64encode(values).decode("ascii"))

    def unpack(self) -> torch.Tensor:
        """Return the tensor, float32.

        Raises:
            ValueError: The text is damaged, of another shape, or holds what is no number.
        """
        try:
            content = base64.b64decode(self.values, validate=True)
        except binascii.Error as error:
            raise ValueError(f"a tensor is not base64: {error}") from error
        if any(size < 0 for size in self.shape) or len(content) != 2 * math.prod(self.shape):
            raise ValueError(f"a tensor of shape {self.shape} has {len(content)} bytes")
        import numpy as np

        tensor = torch.from_numpy(np.frombuffer(content, "<f2").astype(np.float32)).reshape(self.shape)
        if not bool(tensor.isfinite().all()):
            raise ValueError("a tensor holds values that are not finite")
        return tensor
