"""ONNX, for ONNX Runtime and other programs that run networks without PyTorch."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from tl_toolkit.exports.base import ExportFormat, ExportOptions, ExportRequest

if TYPE_CHECKING:
    import torch

    from tl_toolkit.exports.comparison import CheckBatch

METADATA = "tl_toolkit"
"""Key of the file's metadata that holds the header of the model's own file, as JSON."""

PREPROCESSING = "tl_toolkit.preprocessing"
"""Key whose value says whether the graph resizes, crops and normalizes: "inside" or "outside"."""

CLASS_NAMES = "class_names"
"""Key whose value is the class names as JSON, for other programs."""

TOLERANCE = 1e-4
"""Largest difference of an fp32 output, of outputs up to 1; of larger ones, this share of the largest."""


class Onnx(ExportFormat):
    """An ONNX file with a dynamic batch, its class names and its preprocessing."""

    description = "ONNX, for ONNX Runtime"
    file = "model.onnx"
    names_classes = True
    needs: ClassVar[Mapping[str, str]] = {"onnx": "onnx", "onnxscript": "onnx", "onnxruntime": "onnx"}

    def write(self, request: ExportRequest, path: Path) -> Mapping[str, Any]:
        """Write the graph of the network and its metadata."""
        from tl_toolkit.exports.onnx_graph import OPSET, write_graph

        write_graph(request.model, path, self.metadata(request))
        return {"opset": OPSET}

    def metadata(self, request: ExportRequest) -> dict[str, str]:
        """Return the metadata of the file, text by key."""
        header = request.model.metadata.to_metadata()
        header.pop("split_note", None)  # It is of use to `tl evaluate` alone, and may be large.
        return {
            METADATA: json.dumps(header, ensure_ascii=False),
            PREPROCESSING: "inside" if request.options.with_preprocessing else "outside",
            CLASS_NAMES: json.dumps(request.model.class_names, ensure_ascii=False),
        }

    def open_outputs(self, request: ExportRequest, path: Path) -> "Callable[[CheckBatch], torch.Tensor]":  # noqa: ARG002
        """Run the file by ONNX Runtime."""
        import onnxruntime
        import torch

        session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])

        def outputs(batch: "CheckBatch") -> torch.Tensor:
            return torch.from_numpy(session.run(["logits"], {"images": batch.inputs.numpy()})[0])

        return outputs

    def tolerance(self, options: ExportOptions) -> float:  # noqa: ARG002
        """Return the largest difference of a logit."""
        return TOLERANCE
