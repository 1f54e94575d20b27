"""Exporting a model in one of the registered formats."""

import copy
import shutil
from pathlib import Path

import torch
from torch import nn

from tl_toolkit.errors import ToolkitError, UsageError
from tl_toolkit.export.base import Layout, export_format
from tl_toolkit.io.files import atomic_file, check_is_new, format_size
from tl_toolkit.model_file import ModelMetadata
from tl_toolkit.models.classic.resnet_digits import ResNetDigits
from tl_toolkit.text import named


def export(
    module: nn.Module, metadata: ModelMetadata, to: str, path: Path, layout: Layout = "own", replace: bool = False
) -> None:
    """Write a model in a format.

    Args:
        module: The network; it stays as it is.
        metadata: Its description.
        to: Name of the format.
        path: The file to write.
        layout: "torchvision" gives the state_dict of a resnet18_digits the keys of torchvision's resnet18.
        replace: Replace an existing file, as a resumed run does with its own.

    Raises:
        UnknownNameError: There is no such format.
        UsageError: The file exists, or the model has no such layout.
        ToolkitError: The file cannot be written.
    """
    form = export_format(to)
    if not replace:
        check_is_new(path)
    if layout != "own" and (layout not in form.layouts or not isinstance(module, ResNetDigits)):
        raise UsageError(
            f"{named('layout', layout)} is for the state-dict of a resnet18_digits, not for the {to} of "
            f"{metadata.architecture}: leave it out, torchvision's own networks have torchvision's keys."
        )
    plain = copy.deepcopy(module).cpu().to(memory_format=torch.contiguous_format).eval()
    form.write(plain, metadata, path, layout)


def save_torch(value: object, path: Path) -> None:
    """Write an object with torch.save, completely or not at all.

    Raises:
        ToolkitError: The file cannot be written.
    """
    with atomic_file(path) as temporary:
        try:
            torch.save(value, temporary)
        except RuntimeError as error:  # torch does not say why.
            free = format_size(shutil.disk_usage(path.parent).free)
            raise ToolkitError(f"Cannot write {path}: torch could not finish it, and {free} are free there.") from error
