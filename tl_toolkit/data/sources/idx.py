"""MNIST's file format, plain or gzipped (http://yann.lecun.com/exdb/mnist)."""

import gzip
import math
from pathlib import Path

import numpy as np
import torch

from tl_toolkit.errors import DataError

UNSIGNED_BYTES = 8
"""The code of uint8 in the third byte of an idx file, the only type in MNIST and its kin."""


def find_idx(folder: Path, name: str) -> Path | None:
    """Return the idx file of that name, plain or with .gz."""
    return next((path for path in (folder / name, folder / f"{name}.gz") if path.is_file()), None)


def read_idx(path: Path) -> torch.Tensor:
    """Read an idx file of unsigned bytes, in the shape of its header.

    Raises:
        DataError: The file cannot be read, is cut off, or has another format.
    """
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, gzip.zlib.error) as error:  # type: ignore[attr-defined]  # gzip's own import
        raise DataError(f"{path} cannot be read: {error}.") from error
    if len(data) < 4 or data[:3] != bytes([0, 0, UNSIGNED_BYTES]):
        raise DataError(f"{path} is not an idx file of bytes: it begins with {data[:4].hex(' ') or 'nothing'}.")
    dimensions = data[3]
    header = 4 + 4 * dimensions
    shape = np.frombuffer(data[4:header], ">u4").tolist() if len(data) >= header else []
    if len(shape) != dimensions or len(data) - header != math.prod(shape):
        raise DataError(f"{path} is damaged: it says {shape}, but holds {max(0, len(data) - header):,} bytes.")
    return torch.frombuffer(bytearray(data[header:]), dtype=torch.uint8).reshape(shape)
