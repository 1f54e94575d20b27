"""The graph of an ONNX file."""

from pathlib import Path
from typing import Any

from tl_toolkit.errors import ModelFileError
from tl_toolkit.models.inspection.content import Content, StoredTensor
from tl_toolkit.models.inspection.header import header_of_json
from tl_toolkit.system.extras import import_extra
from tl_toolkit.text import join_names

HEADER = "tl_toolkit"
"""Key of the properties under which tl writes its metadata."""

EXTERNAL = 1
"""`TensorProto.EXTERNAL`: the numbers lie in another file."""


def read_onnx(path: Path) -> Content:
    """Read an ONNX file without computing anything.

    Raises:
        UsageError: The package onnx is not installed.
        ModelFileError: The file is damaged; the message is only the reason.
    """
    onnx: Any = import_extra("onnx", "onnx", "Inspecting an ONNX file")
    try:
        return _described(onnx, onnx.load(path, load_external_data=False))
    except Exception as error:  # protobuf's errors have no common class across its implementations.
        raise ModelFileError(f"it is damaged: {str(error).splitlines()[0] if str(error) else error!r}") from error


def _described(onnx: Any, model: Any) -> Content:
    graph = model.graph
    tensors = [StoredTensor(each.name, _dtype(onnx, each.data_type), tuple(each.dims)) for each in graph.initializer]
    properties = {each.key: each.value for each in model.metadata_props}
    header = header_of_json(properties.pop(HEADER, ""))
    opsets = [f"{each.domain or 'ai.onnx'} {each.version}" for each in model.opset_import]
    operators = sorted({node.op_type for node in graph.node})
    facts = {
        "opset": join_names(opsets),
        "producer": f"{model.producer_name} {model.producer_version}".strip(),
        "inputs": "; ".join(_in_words(onnx, each) for each in graph.input),
        "outputs": "; ".join(_in_words(onnx, each) for each in graph.output),
        "operators": f"{len(graph.node):,} of {len(operators):,} kinds: {join_names(operators, 8)}",
        **properties,
    }
    if outside := sorted({_place(each) for each in graph.initializer if each.data_location == EXTERNAL}):
        facts["external data"] = join_names(outside)
    return Content("ONNX", tensors, header.get("architecture", ""), header, {k: v for k, v in facts.items() if v})


def _dtype(onnx: Any, number: int) -> str:
    name: str = onnx.TensorProto.DataType.Name(number).lower()
    return {"float": "float32", "double": "float64"}.get(name, name)


def _in_words(onnx: Any, value: Any) -> str:
    """Return an input or output in words, such as images float32 batch x 3 x 224 x 224."""
    kind = value.type.tensor_type
    sizes = [each.dim_param or (str(each.dim_value) if each.HasField("dim_value") else "?") for each in kind.shape.dim]
    return f"{value.name} {_dtype(onnx, kind.elem_type)} {' x '.join(sizes)}".strip()


def _place(tensor: Any) -> str:
    return next((each.value for each in tensor.external_data if each.key == "location"), "another file")
