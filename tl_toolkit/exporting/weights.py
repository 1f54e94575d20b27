"""state_dicts and full models for plain PyTorch code."""

import copy
from pathlib import Path
from typing import Literal

import torch
from torch import nn

from tl_toolkit.artifact import ModelCard, save_model
from tl_toolkit.errors import UsageError
from tl_toolkit.files import atomic_file

ExportFormat = Literal["state-dict", "full-model", "safetensors"]


def export(module: nn.Module, card: ModelCard, to: ExportFormat, path: Path) -> None:
    """Writes a model in one of the formats.

    A state-dict has the library's own keys and loads with `strict=True` into the library's own network with
    the same head. A full-model is a pickle: whoever loads it trusts whoever wrote it. safetensors is the
    toolkit's own file, with class names and InputSpec.

    Args:
        module: The network.
        card: What describes it.
        to: The format.
        path: The file to write; it must not exist.

    Raises:
        UsageError: The file exists.
        ToolkitError: It cannot be written.
    """
    if path.exists():
        raise UsageError(f"{path} exists; nothing is ever overwritten. Choose another --out.")
    plain = copy.deepcopy(module).cpu().to(memory_format=torch.contiguous_format).eval()
    if to == "safetensors":
        save_model(path, plain.state_dict(), card)
        return
    with atomic_file(path) as temporary:
        torch.save(plain.state_dict() if to == "state-dict" else plain, temporary)
