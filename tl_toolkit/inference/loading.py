"""Loading a model from a run folder or a file, without running code in it."""

import shlex
from itertools import islice
from pathlib import Path
from typing import get_args

import torch
from torch import nn

from tl_toolkit.config.choices import Head, Precision
from tl_toolkit.errors import MAX_SUGGESTIONS, ModelFileError, ToolkitError, UsageError
from tl_toolkit.inference.classifier import ImageClassifier
from tl_toolkit.io.files import is_file, is_folder
from tl_toolkit.io.own_files import CONFIG_FILE, GIVE_A_MODEL, MODEL_FILE, find_model
from tl_toolkit.model_file import ModelMetadata, read_metadata, read_weights
from tl_toolkit.models.backbones import blank_image, resolve_arch
from tl_toolkit.models.build import rebuild_network
from tl_toolkit.models.pickles.load import METADATA_ATTRIBUTE, load_pickled, metadata_of
from tl_toolkit.models.weights.file_kinds import describe_other, describe_unknown, kind_of
from tl_toolkit.text import format_value, join_names, named
from tl_toolkit.training.device import select_device

MAX_SEARCHED = 100
"""Files of a folder without a run that are searched for a model."""


def load(
    path: str | Path, *, device: str = "auto", precision: Precision = "auto", trust: bool = False
) -> ImageClassifier:
    """Load a model without running code in its file.

    Args:
        path: A run folder, a model.safetensors or a full model that tl saved, in any place and under any name.
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
    if kind == "safetensors":
        module, metadata, head_modules = _read(file)
    else:
        module, metadata, head_modules = _read_full_model(file, trust)
    return ImageClassifier(module, metadata, select_device(device, precision, module), head_modules)


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


def _read(file: Path) -> tuple[nn.Module, ModelMetadata, tuple[str, ...]]:
    """Build a network by the metadata of a safetensors file, with its weights; return the names of its head too."""
    weights = read_weights(file)  # First: this finds any damage, which reading the metadata would report wrongly.
    metadata = read_metadata(file)
    if metadata.head not in get_args(Head):
        raise ModelFileError(f"{file} has a head {format_value(metadata.head)}; expected {', '.join(get_args(Head))}.")
    module, head_modules = rebuild_network(
        resolve_arch(metadata.architecture, metadata.arch_options),
        metadata.outputs,
        metadata.head,  # type: ignore[arg-type]  # checked above
        metadata.base_classes,
        metadata.input_spec,
    )
    try:
        module.load_state_dict(weights, strict=True)
    except RuntimeError as error:
        raise ModelFileError(f"{file} does not fit {metadata.architecture}, which its header names: {error}") from error
    return module, metadata, head_modules


def _read_full_model(file: Path, trust: bool) -> tuple[nn.Module, ModelMetadata, tuple[str, ...]]:
    """Load a pickled network and the metadata that it carries; return the name of its head too, if they have it."""
    module = load_pickled(file, trust)
    header = metadata_of(module)
    if not isinstance(module, nn.Module) or not header:
        what = "a network" if isinstance(module, nn.Module) else "weights" if isinstance(module, dict) else "something"
        raise UsageError(
            f"{file} holds {what} without class names and InputSpec, so nothing can be predicted with it. Give a run "
            f"folder, its {MODEL_FILE}, or a full model that tl saved; or train with it: {named('weights', str(file))}."
        )
    delattr(module, METADATA_ATTRIBUTE)
    try:
        metadata = ModelMetadata.from_metadata(header)
    except ModelFileError as error:
        raise ModelFileError(f"{file} is not a model that tl can load: {error}.") from error
    try:
        with torch.inference_mode():
            shape = tuple(module.eval()(blank_image(metadata.input_spec)).shape)
    except Exception as error:  # The file may hold any layers in any order.
        raise ModelFileError(f"{file} does not take the images that it describes: {error}") from error
    if shape != (1, metadata.outputs):
        raise ModelFileError(f"{file} gives {shape} for one image; expected (1, {metadata.outputs}), as it says.")
    layer = metadata.novelty.layer if metadata.novelty else ""
    head_modules = (layer,) if layer in dict(module.named_modules()) else ()
    return module, metadata, head_modules
