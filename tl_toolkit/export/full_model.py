"""A pickled network for plain PyTorch code."""

from pathlib import Path
from typing import TYPE_CHECKING

from tl_toolkit.export.base import ExportFormat, Layout

if TYPE_CHECKING:
    from torch import nn

    from tl_toolkit.model_file import ModelMetadata


class FullModel(ExportFormat):
    """A pickled `nn.Module` with its metadata as plain text in its attribute `tl_card`.

    Plain code that loads a pickle trusts whoever wrote it.
    """

    description = "a pickled nn.Module"
    file = "full_model.pt"

    def write(self, module: "nn.Module", metadata: "ModelMetadata", path: Path, layout: Layout) -> None:  # noqa: ARG002
        """Write the module with torch.save."""
        from tl_toolkit.export.weights import save_torch
        from tl_toolkit.models.pickles.load import METADATA_ATTRIBUTE

        setattr(module, METADATA_ATTRIBUTE, metadata.to_metadata())
        save_torch(module, path)
