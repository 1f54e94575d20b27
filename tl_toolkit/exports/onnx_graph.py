"""The graph of an ONNX file: a network by torch.onnx's exporter, which torch.export feeds."""

import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path

import onnx
import torch
from torch import nn

from tl_toolkit.errors import ModelError
from tl_toolkit.inference.classifier import ImageClassifier
from tl_toolkit.io.files import format_size
from tl_toolkit.text import named
from tl_toolkit.training.evaluation import recorded_inputs

OPSET = 18
"""Version of the operators: the exporter writes it without a conversion, ONNX Runtime reads it since 1.14, and it is
the first with antialiasing in Resize."""

EXAMPLES = 2
"""Images that the network is traced with; with a single one, some networks would be traced for one alone."""


LARGEST_FILE = 2 * 10**9
"""Bytes of weights in one file: protobuf writes no message of 2 GiB."""


class NetworkOutputs(nn.Module):
    """A network that also gives the features that arrive at its head, if it is known how those of training are.

    Args:
        model: The network; it is changed to `dtype`.
        dtype: Type of the weights; inputs and outputs are float32.
    """

    def __init__(self, model: ImageClassifier, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.network = model.module.to(dtype)
        self.head = model.head if model.novelty else None
        self.dtype = dtype

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return logits (N, classes) and perhaps features (N, D) of normalized images (N, C, H, W)."""
        if self.head is None:
            return {"logits": self.network(images.to(self.dtype)).float()}
        with recorded_inputs(self.head) as features:
            logits = self.network(images.to(self.dtype)).float()
        return {"logits": logits, "features": features[-1]}


def network_graph(
    model: ImageClassifier, dtype: torch.dtype = torch.float32, input_name: str = "images"
) -> onnx.ModelProto:
    """Return a network as an ONNX graph.

    The input (N, C, H, W), float32, is normalized as the InputSpec says. The outputs are `logits` (N, classes) and, if
    the model file says how those of training are, `features` (N, D), float32.

    Args:
        model: The model, whose network is changed to `dtype`.
        dtype: Type of the weights.
        input_name: Name of the input.

    Raises:
        ModelError: torch.export or the exporter cannot write this network.
    """
    spec = model.input_spec
    outputs = NetworkOutputs(model, dtype).eval()
    _check_size(outputs, model.metadata.architecture)
    example = torch.zeros(EXAMPLES, spec.channels, spec.height, spec.width)
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # They are about the exporter's own code.
            program = torch.onnx.export(
                outputs,
                (example,),
                input_names=[input_name],
                output_names=["logits"] if outputs.head is None else ["logits", "features"],
                opset_version=OPSET,
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                external_data=False,
                dynamo=True,
                verbose=False,
            )
    except Exception as error:  # Whatever the network's own code raises while it is traced.
        raise ModelError(f"torch.onnx cannot write {model.metadata.architecture}: {_reason(error)}.") from error
    assert program is not None  # It is None for the older exporter alone.
    graph: onnx.ModelProto = program.model_proto
    _remove_traces(graph)
    return graph


def _check_size(module: nn.Module, architecture: str) -> None:
    """Refuse a network that one file cannot hold.

    Raises:
        ModelError: It is too large.
    """
    size = sum(tensor.numel() * tensor.element_size() for tensor in module.state_dict().values())
    if size > LARGEST_FILE:
        raise ModelError(
            f"The weights of {architecture} have {format_size(size)}, and an ONNX file holds "
            f"{format_size(LARGEST_FILE)}: choose {named('dtype', 'fp16')}, or the format safetensors."
        )


def _reason(error: BaseException) -> str:
    """Return the first line of the first cause; the exporter wraps it in pages of advice."""
    while error.__cause__ is not None:
        error = error.__cause__
    return str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__


def _remove_traces(model: onnx.ModelProto) -> None:
    """Remove where in whose files each node was made, which says nothing of the network."""
    for part in _documented(model.graph):
        del part.metadata_props[:]
        part.doc_string = ""


def _documented(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto | onnx.GraphProto | onnx.ValueInfoProto]:
    """Yield a graph and its parts that can say where they are from, those of its branches and loops too."""
    yield graph
    yield from graph.value_info
    yield from (*graph.input, *graph.output)
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs) if attribute.HasField("g") or attribute.graphs else ():
                yield from _documented(inner)


def save_graph(model: onnx.ModelProto, path: Path, metadata: Mapping[str, str]) -> None:
    """Write a graph with metadata, text by key."""
    onnx.helper.set_model_props(model, dict(metadata))
    onnx.save_model(model, path)
