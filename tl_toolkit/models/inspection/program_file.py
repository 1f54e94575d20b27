"""Archives of torch.export.save (.pt2): the JSON in them, without their programs."""

import json
import zipfile
from pathlib import Path
from typing import Any

from tl_toolkit.errors import ModelFileError
from tl_toolkit.models.inspection.content import Content, StoredTensor
from tl_toolkit.models.inspection.header import header_of_json

EXTRA_FILE = "extra/tl_toolkit.json"
WEIGHTS, CONFIG = "data/weights/", "_weights_config.json"

DTYPES = {
    1: "uint8", 2: "int8", 3: "int16", 4: "int32", 5: "int64", 6: "float16", 7: "float32", 8: "float64",
    10: "complex64", 11: "complex128", 12: "bool", 13: "bfloat16", 28: "uint16",
}  # fmt: skip
"""Types by their number in the archive (ScalarType in torch/_export/serde/schema.py)."""


def read_program(path: Path) -> Content:
    """Read what an archive says of its tensors, inputs and outputs.

    Raises:
        ModelFileError: It is damaged; the message is only the reason.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            root = next(name.removesuffix("archive_format") for name in names if name.endswith("/archive_format"))
            tensors = [
                StoredTensor(name, *_described(entry["tensor_meta"]))
                for config in names
                if config.startswith(root + WEIGHTS) and config.endswith(CONFIG)
                for name, entry in json.loads(archive.read(config))["config"].items()
            ]
            extra = f"{root}{EXTRA_FILE}"
            header = header_of_json(archive.read(extra).decode()) if extra in names else {}
            facts = _facts(archive, root, names)
    except Exception as error:  # Damaged archives, and JSON of any content, raise errors of many types.
        raise ModelFileError(f"it is damaged: {str(error) or type(error).__name__}") from error
    return Content("a program of torch.export (.pt2)", tensors, header.get("architecture", ""), header, facts)


def _facts(archive: zipfile.ZipFile, root: str, names: list[str]) -> dict[str, str]:
    """Return what the first program in an archive says of itself."""
    facts = {}
    models = [name for name in names if name.startswith(f"{root}models/") and name.endswith(".json")]
    if models:
        program = json.loads(archive.read(models[0]))
        graph = program["graph_module"]["graph"]
        given = [each["as_tensor"]["name"] for each in graph["inputs"] if "as_tensor" in each]
        owned = {
            argument["arg"]["name"]
            for entry in program["graph_module"]["signature"]["input_specs"]
            for kind, argument in entry.items()
            if kind != "user_input" and isinstance(argument.get("arg"), dict) and "name" in argument["arg"]
        }
        values = graph["tensor_values"]
        inputs = [name for name in given if name not in owned and name in values]
        outputs = [each["as_tensor"]["name"] for each in graph["outputs"] if "as_tensor" in each]
        facts = {
            "torch": str(program.get("torch_version", "")),
            "inputs": "; ".join(f"{name} {_in_words(values[name])}" for name in inputs),
            "outputs": "; ".join(f"{name} {_in_words(values[name])}" for name in outputs if name in values),
        }
    if compiled := [name for name in names if name.endswith((".so", ".cubin"))]:
        facts["compiled code"] = f"{len(compiled)} files, which run when the program does"
    return facts


def _described(meta: dict[str, Any]) -> tuple[str, tuple[int, ...]]:
    return DTYPES.get(meta["dtype"], f"type {meta['dtype']}"), tuple(int(each["as_int"]) for each in meta["sizes"])


def _in_words(meta: dict[str, Any]) -> str:
    """Return a type and a shape in words, with N for a size that may vary."""
    sizes = [str(each["as_int"]) if "as_int" in each else "N" for each in meta["sizes"]]
    return f"{DTYPES.get(meta['dtype'], '')} {' x '.join(sizes)}".strip()
