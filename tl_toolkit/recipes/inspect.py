"""Inspection: what is inside any file of a model, without running anything in it."""

import json
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tl_toolkit.errors import ModelFileError, UnsafeFileError, UsageError
from tl_toolkit.io.export_notes import digest_of_file, read_note
from tl_toolkit.io.files import is_file, is_folder
from tl_toolkit.io.own_files import MODEL_FILE, find_model
from tl_toolkit.model_file import ModelMetadata
from tl_toolkit.models.inspection.content import Content, StoredTensor
from tl_toolkit.models.inspection.onnx_file import read_onnx
from tl_toolkit.models.inspection.program_file import read_program
from tl_toolkit.models.inspection.safetensors_file import read_safetensors
from tl_toolkit.models.inspection.torch_file import read_torch
from tl_toolkit.models.weights.backbone_files import is_backbone
from tl_toolkit.models.weights.file_kinds import Kind, describe_other, describe_unknown, kind_of
from tl_toolkit.text import join_names

READERS: Mapping[Kind, Callable[[Path], Content]] = {
    "safetensors": read_safetensors,
    "torch": read_torch,
    "exported": read_program,
    "onnx": read_onnx,
}

HUB_CONFIG = "config.json"
"""File beside weights that timm's `push_to_hf_hub` writes (timm/models/_hub.py)."""


@dataclass(frozen=True)
class Inspection:
    """What is inside a file of a model.

    Attributes:
        path: The file; of a run folder its model.
        bytes: Its size.
        sha256: Its digest, in hexadecimal.
        content: What the file itself says.
        arch: The network, "torchvision:NAME" or "timm:NAME" where the file or what lies beside it says so.
        class_names: In the order of the outputs; empty if nothing says them.
        metadata: What tl wrote into the file, or of it into the note beside it; None for files of others.
        note: The note of the export beside the file; None if there is none.
        code: Why loading it could run code; empty if it cannot.
        problems: What is damaged, in sentences.
    """

    path: Path
    bytes: int
    sha256: str
    content: Content
    arch: str = ""
    class_names: Sequence[str] = ()
    metadata: ModelMetadata | None = None
    note: Mapping[str, Any] | None = None
    code: str = ""
    problems: Sequence[str] = field(default_factory=tuple)

    @property
    def tensors(self) -> Sequence[StoredTensor]:
        """The tensors, in the order of the file."""
        return self.content.tensors

    @property
    def numbers(self) -> int:
        """How many numbers all tensors hold."""
        return sum(tensor.numbers for tensor in self.tensors)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        known = self.metadata
        return {
            "file": str(self.path),
            "bytes": self.bytes,
            "sha256": self.sha256,
            "format": self.content.format,
            "architecture": self.arch or None,
            "head": known.head if known else None,
            "task": known.task if known else None,
            "class_names": list(self.class_names) or None,
            "input_spec": known.input_spec.to_dict() if known else None,
            "weights": known.weights if known else None,
            "weights_license": known.weights_license if known else None,
            "training": dict(known.training) if known else None,
            "metrics": dict(known.metrics) if known else None,
            "versions": dict(known.versions) if known else None,
            "tensor_count": len(self.tensors),
            "numbers": self.numbers,
            "dtypes": self.content.dtypes,
            "tensors": [{"name": each.name, "dtype": each.dtype, "shape": list(each.shape)} for each in self.tensors],
            "facts": dict(self.content.facts),
            "names_in_pickle": list(self.content.code),
            "could_run_code": self.code or None,
            "note": dict(self.note) if self.note else None,
            "problems": list(self.problems),
        }


def inspect(path: str | Path) -> Inspection:
    """Return what is inside a file of a model, without running anything in it.

    Args:
        path: A run folder, or a file: safetensors, of torch.save, of torch.export (.pt2), or ONNX; of tl or of others.

    Raises:
        UsageError: There is no such file, it is of another kind, or the package that reads it is not installed.
        ModelFileError: The file is damaged.
    """
    file = _file(path)
    kind = kind_of(file)
    if kind is None:
        if what := describe_other(file):
            raise UsageError(f"{file} is {what}: nothing in it is a model.")
        raise ModelFileError(f"{file} is no file of a model: {describe_unknown(file)}.")
    try:
        content = READERS[kind](file)
    except ModelFileError as error:
        raise ModelFileError(f"{file} is no whole {_FORMS[kind]}: {error}.") from error
    problems = _damage(file, content)
    note = _note(file, problems)
    metadata = _metadata(content, note, problems)
    arch, names = content.arch, tuple(metadata.class_names) if metadata else ()
    if metadata:
        arch = metadata.architecture
    elif kind == "safetensors" and (beside := _hub_config(file)):
        arch, names = beside
    code = _could_run(file, content) if kind == "torch" else ""
    size = file.stat().st_size
    return Inspection(file, size, digest_of_file(file), content, arch, names, metadata, note, code, tuple(problems))


_FORMS: Mapping[Kind, str] = {
    "safetensors": "safetensors file",
    "torch": "file of torch.save",
    "exported": "archive of torch.export",
    "onnx": "ONNX file",
}


def _file(path: str | Path) -> Path:
    """Return the file to inspect: of a folder, its model.

    Raises:
        UsageError: There is none.
    """
    place = find_model(path)
    if not is_folder(place):
        return place
    if is_file(place / MODEL_FILE):
        return place / MODEL_FILE
    inside = sorted(each.name for each in place.iterdir() if is_file(each))
    say = f" It has {', '.join(inside[:5])}: name one of them." if inside else ""
    raise UsageError(f"{place} has no {MODEL_FILE}.{say}")


def _damage(file: Path, content: Content) -> list[str]:
    """Return a sentence if the digest that tl wrote into a file is not that of its content."""
    if "digest" not in content.header:
        return []
    from tl_toolkit.io.safetensors_file import load_checked  # Imports torch.

    try:
        load_checked(file)
    except ModelFileError as error:
        return [f"The file cannot be used: {error}."]
    return []


def _note(file: Path, problems: list[str]) -> Mapping[str, Any] | None:
    """Return the note of the export beside a file; None, and a problem, if it is of another file."""
    try:
        return read_note(file)
    except ModelFileError as error:
        problems.append(str(error))
        return None


def _metadata(content: Content, note: Mapping[str, Any] | None, problems: list[str]) -> ModelMetadata | None:
    """Return what tl wrote of a model, in the file or in the note; None, and a problem, if it is damaged."""
    try:
        if is_backbone(content.header):
            return None
        if content.header and "checkpoint" not in content.header:
            return ModelMetadata.from_metadata(content.header)
        return ModelMetadata.from_note(note.get("model")) if note else None
    except ModelFileError as error:
        problems.append(f"What the file says of its model cannot be read: {error}.")
        return None


def _hub_config(file: Path) -> tuple[str, tuple[str, ...]] | None:
    """Return the network and the class names that timm's config.json beside weights says; None if there is none."""
    try:
        config = json.loads((file.parent / HUB_CONFIG).read_bytes())
        architecture, labels = config["architecture"], config.get("label_names") or ()
    except (OSError, ValueError, RecursionError, KeyError, TypeError, AttributeError):
        return None
    if not isinstance(architecture, str) or not isinstance(labels, list | tuple):
        return None
    return f"timm:{architecture}", tuple(map(str, labels))


def _could_run(file: Path, content: Content) -> str:
    """Return why loading a pickle could run code; empty if tl loads it as it is."""
    if content.format.startswith("TorchScript"):
        return "it is a TorchScript program"
    if not content.code:
        return ""
    if not zipfile.is_zipfile(file):  # Only archives are checked for what they do with such names.
        return f"it is a plain pickle that names {join_names(content.code)}"
    from tl_toolkit.models.pickles.load import find_allowed  # Imports torch.

    try:
        find_allowed(file)
    except UnsafeFileError as error:
        return str(error)
    except Exception as error:  # noqa: BLE001  # Damaged pickles raise errors of every type.
        return f"it cannot be checked ({error})"
    return ""
