"""The toolkit's own file."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tl_toolkit.exports.base import ExportFormat, ExportRequest
from tl_toolkit.io.own_files import MODEL_FILE

if TYPE_CHECKING:
    import torch

    from tl_toolkit.exports.comparison import CheckBatch


class Safetensors(ExportFormat):
    """A model.safetensors, from which tl predicts without anything else."""

    description = "tl's own file"
    file = MODEL_FILE
    names_classes = True

    def write(self, request: ExportRequest, path: Path) -> Mapping[str, Any]:
        """Write weights and metadata."""
        from tl_toolkit.model_file import save_model

        save_model(path, request.model.module.state_dict(), request.model.metadata)
        return {}

    def open_outputs(self, request: ExportRequest, path: Path) -> "Callable[[CheckBatch], torch.Tensor]":  # noqa: ARG002
        """Load the file as `tl predict` does."""
        from tl_toolkit.exports.comparison import module_outputs
        from tl_toolkit.inference.loading import load

        return module_outputs(load(path, device="cpu", precision="fp32").module)
