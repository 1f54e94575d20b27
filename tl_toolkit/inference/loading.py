"""Loading a model from a run folder or a file, without running code in it."""

import shlex
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from tl_toolkit.config.choices import Precision
from tl_toolkit.errors import MAX_SUGGESTIONS, ModelFileError, ToolkitError, UsageError
from tl_toolkit.inference.predictor import Predictor
from tl_toolkit.io.files import is_file, is_folder
from tl_toolkit.io.own_files import CONFIG_FILE, GIVE_A_MODEL, MODEL_FILE, find_model
from tl_toolkit.model_file import read_metadata
from tl_toolkit.models.weights.file_kinds import describe_other, describe_unknown, kind_of
from tl_toolkit.text import join_names

if TYPE_CHECKING:
    from tl_toolkit.inference.classifier import ImageClassifier

MAX_SEARCHED = 100
"""Files of a folder without a run that are searched for a model."""


def load(
    path: str | Path, *, device: str = "auto", precision: Precision = "auto", trust: bool = False
) -> "ImageClassifier":
    """Load a model without running code in its file.

    Args:
        path: A run folder, a model.safetensors, a full model or a program (.pt2) that tl saved, in any place and under
            any name; or a state_dict that tl exported, with the note beside it.
        device: "auto", "cpu", "cuda", "cuda:N" or "mps".
        precision: "auto" is bf16 where the device computes it natively.
        trust: Load a full model even if code in the file would run.

    Raises:
        UsageError: There is no such file, it is of another kind, or it says nothing of classes and preprocessing.
        ModelFileError: The file is damaged or not the toolkit's.
        UnsafeFileError: Without `trust`, loading it could run code.
    """
    file = find_model_file(path)
    kind = kind_of(file)
    if kind is None:
        raise _no_model(file)
    if kind == "onnx":
        raise UsageError(
            f"{file} is an ONNX file, which only predicts: tl predict --model {shlex.quote(str(file))}, or "
            f"tl.OnnxClassifier({str(file)!r}) in Python. Give the run that it was exported from."
        )
    from tl_toolkit.inference.network_files import load_network

    return load_network(file, kind, device, precision, trust)


def load_predictor(
    path: str | Path,
    *,
    device: str = "auto",
    precision: Precision = "auto",
    trust: bool = False,
    threads: int | None = None,
) -> Predictor:
    """Load any model that predicts: what `load` takes, or an ONNX file, for which torch is not imported.

    Args:
        path: A run folder or a file.
        device: See `load`.
        precision: See `load`.
        trust: See `load`.
        threads: Threads that an ONNX file is computed with; those of torch belong to the process.

    Raises:
        ToolkitError: As `load` does.
    """
    if not needs_torch(path):
        from tl_toolkit.inference.onnx_classifier import OnnxClassifier

        return OnnxClassifier(find_model_file(path), device=device, precision=precision, threads=threads)
    return load(path, device=device, precision=precision, trust=trust)


def needs_torch(path: str | Path) -> bool:
    """Return whether a model is a network of torch's.

    Raises:
        UsageError: There is no model.
    """
    return kind_of(find_model_file(path)) != "onnx"


def find_model_file(path: str | Path) -> Path:
    """Return the model.safetensors of a run folder, or the file itself.

    Raises:
        UsageError: There is none.
    """
    place = find_model(path)
    file = place / MODEL_FILE if is_folder(place) else place
    if is_file(file):
        return file
    raise UsageError(f"{place} has no {MODEL_FILE} in it{_suggest_instead(place)}")


def _suggest_instead(folder: Path) -> str:
    """Return what a folder without a model holds, and what to give in its place."""
    if is_file(folder / CONFIG_FILE):
        return f". Its run has not come so far: tl finetune --resume {shlex.quote(str(folder))}"
    try:
        runs = sorted((path.parent for path in folder.glob(f"*/{MODEL_FILE}")), key=lambda run: run.stat().st_mtime)
        inside = sorted(islice((path for path in folder.iterdir() if path.name[:1] != "."), MAX_SEARCHED))
    except OSError:
        return f". {GIVE_A_MODEL}"
    if near := [str(path) for path in (*reversed(runs), *filter(_has_metadata, inside))][:MAX_SUGGESTIONS]:
        return f". Did you mean {' or '.join(near)}?"
    return f", only {join_names([path.name for path in inside])}. {GIVE_A_MODEL}" if inside else f". {GIVE_A_MODEL}"


def _has_metadata(path: Path) -> bool:
    """Return whether a file is a safetensors model that tl wrote, whatever its name."""
    try:
        return is_file(path) and kind_of(path) == "safetensors" and bool(read_metadata(path))
    except ModelFileError:
        return False


def _no_model(file: Path) -> ToolkitError:
    """Return the error that says what a file without a model is."""
    what = describe_other(file)
    if not what:
        return ModelFileError(f"{file} is not a model that tl can load: {describe_unknown(file)}.")
    beside = file.parent / MODEL_FILE
    of_run = beside != file and is_file(beside)
    instead = f"The model of that run is in its folder: {file.parent}" if of_run else GIVE_A_MODEL
    return UsageError(f"{file} is {what}, not a model. {instead}")
