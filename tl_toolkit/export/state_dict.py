"""Tensors for plain PyTorch code."""

from pathlib import Path
from typing import TYPE_CHECKING

from tl_toolkit.export.base import ExportFormat, Layout

if TYPE_CHECKING:
    from torch import nn

    from tl_toolkit.model_file import ModelMetadata


class StateDict(ExportFormat):
    """A state_dict, which loads with `strict=True` into the library's own network with the same head."""

    description = "tensors alone"
    file = "state_dict.pt"
    layouts = ("own", "torchvision")

    def write(self, module: "nn.Module", metadata: "ModelMetadata", path: Path, layout: Layout) -> None:  # noqa: ARG002
        """Write the state_dict with torch.save."""
        from tl_toolkit.export.weights import save_torch
        from tl_toolkit.models.classic.resnet_digits import to_torchvision

        state = module.state_dict()
        save_torch(to_torchvision(state) if layout == "torchvision" else state, path)
