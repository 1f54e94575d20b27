"""The toolkit's own file."""

from pathlib import Path
from typing import TYPE_CHECKING

from tl_toolkit.export.base import ExportFormat, Layout
from tl_toolkit.io.own_files import MODEL_FILE

if TYPE_CHECKING:
    from torch import nn

    from tl_toolkit.model_file import ModelMetadata


class Safetensors(ExportFormat):
    """A model.safetensors, from which tl predicts without anything else."""

    description = "tl's own file"
    file = MODEL_FILE
    names_classes = True

    def write(self, module: "nn.Module", metadata: "ModelMetadata", path: Path, layout: Layout) -> None:  # noqa: ARG002
        """Write weights and metadata."""
        from tl_toolkit.model_file import save_model

        save_model(path, module.state_dict(), metadata)
