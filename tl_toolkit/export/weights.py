"""state_dicts and full models for plain PyTorch code."""

import copy
import shutil
from pathlib import Path
from typing import Literal

import torch
from torch import nn

from tl_toolkit.errors import ToolkitError, UsageError
from tl_toolkit.io.files import atomic_file, check_is_new, format_size
from tl_toolkit.model_file import ModelMetadata, save_model
from tl_toolkit.models.classic.resnet_digits import ResNetDigits, to_torchvision
from tl_toolkit.models.pickles.load import CARD_ATTRIBUTE
from tl_toolkit.text import named

ExportFormat = Literal["state-dict", "full-model", "safetensors"]
Layout = Literal["own", "torchvision"]


def export(
    module: nn.Module,
    metadata: ModelMetadata,
    to: ExportFormat,
    path: Path,
    layout: Layout = "own",
    replace: bool = False,
) -> None:
    """Writes a model in one of the formats.

    A state-dict has the library's own keys and loads with `strict=True` into the library's own network with
    the same head. A full-model is a pickle: in plain code, whoever loads it trusts whoever wrote it. It carries the
    card as plain text in its attribute `tl_card`. safetensors is the toolkit's own file.

    Args:
        module: The network.
        metadata: What describes it.
        to: The format.
        path: The file to write.
        layout: "torchvision" gives the state_dict of a resnet18_digits the keys of torchvision's resnet18.
        replace: Whether a file that exists may be replaced: a run that goes on writes its own again.

    Raises:
        UsageError: The file exists, or the model has no other layout.
        ToolkitError: It cannot be written.
    """
    if not replace:
        check_is_new(path)
    plain = copy.deepcopy(module).cpu().to(memory_format=torch.contiguous_format).eval()
    if layout == "torchvision":
        if to != "state-dict" or not isinstance(plain, ResNetDigits):
            raise UsageError(
                f"{named('layout', 'torchvision')} is for the state-dict of a resnet18_digits, not for the {to} of "
                f"{metadata.architecture}: leave it out, torchvision's own networks have torchvision's keys."
            )
        _save(to_torchvision(plain.state_dict()), path)
        return
    if to == "safetensors":
        save_model(path, plain.state_dict(), metadata)
        return
    if to == "full-model":
        setattr(plain, CARD_ATTRIBUTE, metadata.to_metadata())
    _save(plain.state_dict() if to == "state-dict" else plain, path)


def _save(value: object, path: Path) -> None:
    """torch.save, whole or not at all."""
    with atomic_file(path) as temporary:
        try:
            torch.save(value, temporary)
        except RuntimeError as error:  # torch does not say why.
            free = format_size(shutil.disk_usage(path.parent).free)
            raise ToolkitError(f"Cannot write {path}: torch could not finish it, and {free} are free there.") from error
