"""Small ONNX files to the names of `tl export`, and the same networks of torch's."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from tl_toolkit.inference.classifier import ImageClassifier
from tl_toolkit.input_spec import InputSpec
from tl_toolkit.model_file import ModelMetadata
from tl_toolkit.training.device import select_device

SPEC = InputSpec(height=16, width=16)


def linear(outputs: int, seed: int = 0) -> nn.Sequential:
    """A network that judges an image by its mean colour."""
    generator = torch.Generator().manual_seed(seed)
    module = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, outputs))
    module[2].weight.data = 3 * torch.randn(outputs, 3, generator=generator)
    module[2].bias.data = torch.randn(outputs, generator=generator)
    return module.eval()


def metadata_of(*class_names: str, **changes: Any) -> ModelMetadata:
    """Metadata of a network that needs no library."""
    return ModelMetadata("timm:linear", "swap", 10, class_names, SPEC, **changes)


def torch_classifier(module: nn.Module, metadata: ModelMetadata) -> ImageClassifier:
    """The network in float32 on the CPU, with its head known."""
    return ImageClassifier(module, metadata, select_device("cpu", "fp32", module), ("2",))


def write_onnx(path: Path, module: nn.Sequential, metadata: ModelMetadata, inside: bool = False) -> Path:
    """Write `linear` as `tl export` does, with its preprocessing inside or outside."""
    nodes = [
        helper.make_node("GlobalAveragePool", ["images"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["features"]),
        helper.make_node("Gemm", ["features", "weight", "bias"], ["logits"], transB=1),
    ]
    outputs = {"logits": ["batch", metadata.outputs]}
    inputs: tuple[int, list[Any]] = (TensorProto.FLOAT, ["batch", 3, SPEC.height, SPEC.width])
    constants = {"weight": module[2].weight, "bias": module[2].bias}
    if metadata.novelty:
        outputs["features"] = ["batch", 3]
    if inside:
        inputs = (TensorProto.UINT8, ["batch", "height", "width", 3])
        constants |= {"scale": torch.tensor(255.0), "temperature": torch.tensor(metadata.temperature)}
        nodes = [
            helper.make_node("Cast", ["images"], ["floats"], to=TensorProto.FLOAT),
            helper.make_node("ReduceMean", ["floats", "axes"], ["means"], keepdims=0),
            helper.make_node("Div", ["means", "scale"], ["features"]),
            nodes[2],
            helper.make_node("Div", ["logits", "temperature"], ["scaled"]),
            helper.make_node("Sigmoid" if metadata.loss == "bce" else "Softmax", ["scaled"], ["probabilities"]),
        ]
        outputs = {"probabilities": ["batch", len(metadata.class_names)], **outputs}
    tensors = [numpy_helper.from_array(value.detach().numpy(), name) for name, value in constants.items()]
    tensors.append(numpy_helper.from_array(np.array([1, 2], np.int64), "axes"))
    graph = helper.make_graph(
        nodes,
        "linear",
        [helper.make_tensor_value_info("images", *inputs)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()],
        tensors,
    )
    header = {
        "tl_toolkit": json.dumps(metadata.to_metadata()),
        "tl_toolkit.preprocessing": "inside" if inside else "outside",
    }
    return save_onnx(path, graph, header)


def save_onnx(path: Path, graph: onnx.GraphProto, header: Mapping[str, str]) -> Path:
    """Save a graph with texts as metadata."""
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    helper.set_model_props(model, dict(header))
    onnx.save(model, path)
    return path
