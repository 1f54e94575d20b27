"""The toolkit's own file."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tl_toolkit.exports.base import ROUNDED, ExportFormat, ExportOptions, ExportRequest
from tl_toolkit.io.own_files import MODEL_FILE

if TYPE_CHECKING:
    import torch

    from tl_toolkit.exports.comparison import CheckBatch


class Safetensors(ExportFormat):
    """A model.safetensors, from which tl predicts without anything else."""

    description = "tl's own file"
    file = MODEL_FILE
    dtypes = ("fp32", "fp16", "bf16")
    names_classes = True

    def write(self, request: ExportRequest, path: Path) -> Mapping[str, Any]:
        """Write weights and metadata."""
        from tl_toolkit.exports.networks import cast
        from tl_toolkit.model_file import save_model

        save_model(path, cast(request.model.module.state_dict(), request.options.dtype), request.model.metadata)
        return {"network": request.model.metadata.architecture}

    def open_outputs(self, request: ExportRequest, path: Path) -> "Callable[[CheckBatch], torch.Tensor]":
        """Load the file as `tl predict` does, and its tensors as the library's own code does."""
        from safetensors.torch import load_file

        from tl_toolkit.exports.comparison import module_outputs
        from tl_toolkit.exports.networks import plain_network
        from tl_toolkit.inference.loading import load
        from tl_toolkit.io.module_weights import load_weights

        load(path, device="cpu", precision="fp32")
        module = plain_network(request.model.metadata).build()
        load_weights(module, load_file(path))
        return module_outputs(module)

    def tolerance(self, options: ExportOptions) -> float:
        """Return what the type of the weights rounds."""
        return ROUNDED[options.dtype]

    def code(self, request: ExportRequest, name: str) -> list[str]:
        """Return code of the library and of safetensors."""
        from tl_toolkit.exports.networks import plain_network, safetensors_code

        return safetensors_code(plain_network(request.model.metadata), name)
