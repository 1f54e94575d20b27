"""The header of a safetensors file."""

import json
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open

from tl_toolkit.errors import ModelFileError
from tl_toolkit.models.inspection.content import Content, StoredTensor
from tl_toolkit.models.weights.backbone_files import describe_backbone, is_backbone

DTYPES = {
    "BOOL": "bool", "U8": "uint8", "I8": "int8", "I16": "int16", "U16": "uint16", "I32": "int32", "U32": "uint32",
    "I64": "int64", "U64": "uint64", "F16": "float16", "BF16": "bfloat16", "F32": "float32", "F64": "float64",
    "F8_E4M3": "float8_e4m3", "F8_E5M2": "float8_e5m2",
}  # fmt: skip
"""Names of types in the header (safetensors' README) and in torch."""


def read_safetensors(path: Path) -> Content:
    """Read the header, and nothing else.

    Raises:
        ModelFileError: It is damaged, or the file is cut off; the message is only the reason.
    """
    try:
        with safe_open(path, framework="np") as file:
            header: Mapping[str, str] = file.metadata() or {}
            slices = [(name, file.get_slice(name)) for name in file.keys()]  # noqa: SIM118  # not iterable
            tensors = [
                StoredTensor(name, DTYPES.get(part.get_dtype(), part.get_dtype().lower()), tuple(part.get_shape()))
                for name, part in slices
            ]
    except (SafetensorError, OSError) as error:
        raise ModelFileError(f"it is damaged: {error}") from error
    kind, facts = "safetensors", dict[str, str]()
    if is_backbone(header):
        kind, facts = "safetensors, a network without its head that tl wrote", {"origin": describe_backbone(header)}
    elif header.get("format", "").startswith("tl_toolkit."):
        kind = "safetensors, a model that tl wrote"
    elif "checkpoint" in header:
        kind, facts = "safetensors, the checkpoint of a run", _progress(header["checkpoint"])
    else:
        facts = {f"metadata {name}": text for name, text in header.items() if name != "format"}
        header = {}
    return Content(kind, tensors, header.get("architecture", ""), header, facts)


def _progress(text: str) -> dict[str, str]:
    """Return how far the run of a checkpoint was."""
    try:
        noted = json.loads(text)
        return {"stage": f"{noted['settings']['name']}, after step {int(noted['state']['step']):,}"}
    except (ValueError, TypeError, KeyError, RecursionError):
        return {}
