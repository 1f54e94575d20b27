"""A pickled network for plain PyTorch code."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tl_toolkit.exports.base import ExportFormat, ExportRequest

if TYPE_CHECKING:
    import torch

    from tl_toolkit.exports.comparison import CheckBatch


class FullModel(ExportFormat):
    """A pickled `nn.Module` with its metadata as plain text in its attribute `tl_card`.

    Plain code that loads a pickle trusts whoever wrote it.
    """

    description = "a pickled nn.Module"
    file = "full_model.pt"

    def write(self, request: ExportRequest, path: Path) -> Mapping[str, Any]:
        """Write the module with torch.save."""
        from tl_toolkit.exports.writing import save_torch
        from tl_toolkit.models.pickles.load import METADATA_ATTRIBUTE

        module = request.model.module
        setattr(module, METADATA_ATTRIBUTE, request.model.metadata.to_metadata())
        save_torch(module, path)
        return {}

    def open_outputs(self, request: ExportRequest, path: Path) -> "Callable[[CheckBatch], torch.Tensor]":  # noqa: ARG002
        """Load the module through the list of classes that are allowed in a pickle."""
        from tl_toolkit.exports.comparison import module_outputs
        from tl_toolkit.inference.loading import load

        return module_outputs(load(path, device="cpu", precision="fp32").module)
