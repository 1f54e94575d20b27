"""A pickled network for plain PyTorch code."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tl_toolkit.exports.base import ROUNDED, ExportFormat, ExportOptions, ExportRequest

if TYPE_CHECKING:
    import torch

    from tl_toolkit.exports.comparison import CheckBatch


class FullModel(ExportFormat):
    """A pickled `nn.Module` with its metadata as plain text in its attribute `tl_card`.

    Plain code that loads a pickle trusts whoever wrote it.
    """

    description = "a pickled nn.Module"
    file = "full_model.pt"
    dtypes = ("fp32", "fp16", "bf16")

    def write(self, request: ExportRequest, path: Path) -> Mapping[str, Any]:
        """Write the module with torch.save; a row of layers of the toolkit as one of torch's own classes."""
        from tl_toolkit.exports.networks import DTYPES
        from tl_toolkit.exports.writing import save_torch
        from tl_toolkit.models.classic.network import SequentialNetwork
        from tl_toolkit.models.pickles.load import METADATA_ATTRIBUTE
        from tl_toolkit.models.plain_code import as_sequential

        module = request.model.module
        module = as_sequential(module) if isinstance(module, SequentialNetwork) else module
        setattr(module, METADATA_ATTRIBUTE, request.model.metadata.to_metadata())
        save_torch(module.to(DTYPES[request.options.dtype]), path)
        return {"network": request.model.metadata.architecture}

    def open_outputs(self, request: ExportRequest, path: Path) -> "Callable[[CheckBatch], torch.Tensor]":  # noqa: ARG002
        """Load the module as plain code does, after the list of classes that are allowed in a pickle let it pass."""
        import torch

        from tl_toolkit.exports.comparison import module_outputs
        from tl_toolkit.inference.loading import load

        load(path, device="cpu", precision="fp32")
        return module_outputs(torch.load(path, weights_only=False))

    def tolerance(self, options: ExportOptions) -> float:
        """Return what the type of the weights rounds; the network also computes in it."""
        return ROUNDED[options.dtype]

    def code(self, request: ExportRequest, name: str) -> list[str]:  # noqa: ARG002
        """Return code of torch, which imports the network's library by itself."""
        return ["import torch", "", f'model = torch.load("{name}", weights_only=False)  # It runs code of the file.']
