"""Weights in archives of torch.export.save (.pt2), read without running the program in them.

torch.export.load would run what a file wants: it unpickles parts of it, and evaluates expressions of its shapes. The
weights are raw bytes beside it (torch/export/pt2_archive/_package.py), and a JSON file says what they are.
"""

import json
import zipfile
from pathlib import Path
from typing import Any

import torch

from tl_toolkit.errors import ModelFileError
from tl_toolkit.io.own_files import PROGRAM_METADATA

WEIGHTS, CONFIG = "data/weights/", "_weights_config.json"

TYPES = {
    1: torch.uint8,
    2: torch.int8,
    3: torch.int16,
    4: torch.int32,
    5: torch.int64,
    6: torch.float16,
    7: torch.float32,
    8: torch.float64,
    12: torch.bool,
    13: torch.bfloat16,
}
"""Types of tensors by their number in the archive (ScalarType in torch/_export/serde/schema.py)."""


def read_program(path: Path) -> tuple[dict[str, torch.Tensor], str]:
    """Return the weights by name, and the header that `tl export` wrote beside them; empty if there is none.

    Raises:
        ModelFileError: The file is damaged, or holds weights in another way; the message is only the reason.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            root = next(name.removesuffix("archive_format") for name in names if name.endswith("/archive_format"))
            header = f"{root}extra/{PROGRAM_METADATA}"
            text = archive.read(header).decode() if header in names else ""
            weights: dict[str, torch.Tensor] = {}
            for config in (name for name in names if name.startswith(root + WEIGHTS) and name.endswith(CONFIG)):
                entries = json.loads(archive.read(config))["config"]
                weights |= {name: _tensor(archive, root, entry) for name, entry in entries.items()}
    except Exception as error:  # Damaged archives, and JSON of any content, raise errors of many types.
        raise ModelFileError(f"it is damaged: {str(error) or type(error).__name__}") from error
    return weights, text


def _tensor(archive: zipfile.ZipFile, root: str, entry: dict[str, Any]) -> torch.Tensor:
    """Return a tensor whose bytes are a member of the archive.

    Raises:
        ValueError: It is pickled, or of an unknown type.
    """
    if entry["use_pickle"]:
        raise ValueError("its weights are pickled, which tl does not load")
    meta = entry["tensor_meta"]
    if meta["dtype"] not in TYPES:
        raise ValueError(f"its weights are of the unknown type {meta['dtype']}")
    content = bytearray(archive.read(f"{root}{WEIGHTS}{entry['path_name']}"))
    sizes, strides = ([each["as_int"] for each in meta[key]] for key in ("sizes", "strides"))
    dtype = TYPES[meta["dtype"]]
    if not content:
        return torch.empty(sizes, dtype=dtype)
    return torch.frombuffer(content, dtype=dtype).as_strided(sizes, strides, meta["storage_offset"]["as_int"])
