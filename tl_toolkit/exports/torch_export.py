"""A program of PyTorch: the network's operations and weights, without its library."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tl_toolkit.errors import ModelError
from tl_toolkit.exports.base import ExportFormat, ExportOptions, ExportRequest
from tl_toolkit.io.own_files import PROGRAM_METADATA

if TYPE_CHECKING:
    import torch

    from tl_toolkit.exports.comparison import CheckBatch

TOLERANCE = 1e-4
EXAMPLES = 2
"""Images that the network is traced with: a single one would fix the size of the batch."""


class TorchExport(ExportFormat):
    """A program that torch.export made, for batches of any size of images of the model's height and width."""

    description = "a program of PyTorch (.pt2)"
    file = "model.pt2"

    def write(self, request: ExportRequest, path: Path) -> Mapping[str, Any]:
        """Trace the network, and write it with its metadata."""
        import torch

        from tl_toolkit.models.backbones import blank_image

        model = request.model
        images = blank_image(model.input_spec).expand(EXAMPLES, -1, -1, -1).contiguous()
        try:
            program = torch.export.export(model.module, (images,), dynamic_shapes=({0: torch.export.Dim("batch")},))
        except Exception as error:  # A network may do anything that cannot be traced.
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise ModelError(
                f"torch.export cannot make a program of {model.metadata.architecture}: {reason} Choose another format."
            ) from error
        metadata = {PROGRAM_METADATA: json.dumps(model.metadata.to_metadata())}
        with path.open("wb") as file:  # A path would have to end in .pt2.
            torch.export.save(program, file, extra_files=metadata)
        return {"network": model.metadata.architecture, "input": ["N", *images.shape[1:]]}

    def open_outputs(self, request: ExportRequest, path: Path) -> "Callable[[CheckBatch], torch.Tensor]":  # noqa: ARG002
        """Load the program, and run the first image of a batch alone: it is to take any number."""
        import torch

        with path.open("rb") as file:
            module = torch.export.load(file).module()

        def outputs(batch: "CheckBatch") -> torch.Tensor:
            parts = [part for part in (batch.inputs[:1], batch.inputs[1:]) if len(part)]
            with torch.inference_mode():
                return torch.cat([module(part) for part in parts])

        return outputs

    def tolerance(self, options: ExportOptions) -> float:  # noqa: ARG002
        """Return what another order of operations may round."""
        return TOLERANCE

    def code(self, request: ExportRequest, name: str) -> list[str]:  # noqa: ARG002
        """Return code of torch alone."""
        return ["import torch", "", f'model = torch.export.load("{name}").module()']
