"""Tensors in safetensors files that appear whole or not at all."""

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from tl_toolkit.files import atomic_file


def write_tensors(path: Path, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Writes or replaces a file.

    Args:
        path: The file.
        tensors: On any device; those that share memory are written each for itself.
        metadata: For the file's header.

    Raises:
        ToolkitError: It cannot be written, for example because the disk is full.
    """
    separate = _separate(tensors)
    with atomic_file(path, sum(tensor.nbytes for tensor in separate.values())) as temporary:
        try:
            save_file(separate, temporary, dict(metadata) if metadata else None)
        except SafetensorError as error:  # Made of the system's own error, whose number stands in the text.
            number = re.search(r"os error (\d+)", str(error))
            raise OSError(int(number[1]) if number else None, str(error)) from error


def _separate(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Contiguous tensors on the CPU; of keys that share memory each gets a copy, as safetensors requires."""
    seen: set[int] = set()
    separate: dict[str, torch.Tensor] = {}
    for key, tensor in tensors.items():
        plain = tensor.detach().cpu().contiguous()
        separate[key] = plain.clone() if plain.data_ptr() in seen else plain
        seen.add(plain.data_ptr())
    return separate
