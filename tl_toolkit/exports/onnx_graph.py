"""The graph of an ONNX file: a network by torch.onnx's exporter."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

from tl_toolkit.inference.classifier import ImageClassifier
from tl_toolkit.training.evaluation import recorded_inputs

OPSET = 18
"""Version of the operators: the exporter writes it without conversion, and ONNX Runtime reads it since 1.14."""

EXAMPLES = 2
"""Images that the network is traced with; with a single one, some networks would be traced for one alone."""


class NetworkOutputs(nn.Module):
    """A network that also gives the features that arrive at its head, if it is known how those of training are."""

    def __init__(self, model: ImageClassifier) -> None:
        super().__init__()
        self.network = model.module
        self.head = model.head if model.novelty else None

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return logits (N, classes) and perhaps features (N, D) of normalized images (N, C, H, W)."""
        if self.head is None:
            return {"logits": self.network(images)}
        with recorded_inputs(self.head) as features:
            logits = self.network(images)
        return {"logits": logits, "features": features[-1]}


def write_graph(model: ImageClassifier, path: Path, metadata: Mapping[str, str]) -> None:
    """Write a network as ONNX.

    The input is `images` (N, C, H, W), float32, normalized as the InputSpec says. The outputs are `logits`
    (N, classes) and, if the model file says how those of training are, `features` (N, D).
    """
    spec = model.input_spec
    outputs = NetworkOutputs(model).eval()
    example = torch.zeros(EXAMPLES, spec.channels, spec.height, spec.width)
    names = ["logits", "features"] if outputs.head is not None else ["logits"]
    program = torch.onnx.export(
        outputs,
        (example,),
        input_names=["images"],
        output_names=names,
        opset_version=OPSET,
        dynamic_shapes={"images": {0: torch.export.Dim("batch")}},
        external_data=False,
        dynamo=True,
        verbose=False,
    )
    assert program is not None  # It is None for the older exporter alone.
    program.model.metadata_props.update(metadata)
    program.save(path, external_data=False)
