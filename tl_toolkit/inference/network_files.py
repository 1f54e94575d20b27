"""Networks in files: reading and building them, without running code in the file."""

from collections.abc import Mapping
from pathlib import Path
from typing import get_args

import torch
from torch import nn

from tl_toolkit.config.choices import Head, Precision
from tl_toolkit.errors import ModelError, ModelFileError, UsageError
from tl_toolkit.inference.classifier import ImageClassifier
from tl_toolkit.io.export_notes import note_path, read_note
from tl_toolkit.io.exported_program import read_program
from tl_toolkit.io.module_weights import load_weights
from tl_toolkit.io.own_files import MODEL_FILE
from tl_toolkit.model_file import ModelMetadata, read_metadata, read_weights
from tl_toolkit.models.backbones import blank_image, resolve_arch
from tl_toolkit.models.build import rebuild_network
from tl_toolkit.models.layouts import renamed
from tl_toolkit.models.pickles.load import METADATA_ATTRIBUTE, load_pickled, metadata_of
from tl_toolkit.models.weights.file_kinds import Kind
from tl_toolkit.text import format_value, named
from tl_toolkit.training.device import select_device

OWN_LAYOUT = "own"
"""Option of an export whose weights have the network's own names."""

Loaded = tuple[nn.Module, ModelMetadata, tuple[str, ...]]
"""A network, its metadata, and the names of the modules of its head where they are known."""


def load_network(file: Path, kind: Kind, device: str, precision: Precision, trust: bool) -> ImageClassifier:
    """Load a model file of torch's; see `loading.load`."""
    if kind == "safetensors":
        weights = read_weights(file)  # First: this finds any damage, which reading the metadata would report wrongly.
        module, metadata, head_modules = _build(file, weights, read_metadata(file))
    elif kind == "exported":
        module, metadata, head_modules = _read_program(file)
    else:
        module, metadata, head_modules = _read_pickled(file, trust)
    return ImageClassifier(module, metadata, select_device(device, precision, module), head_modules)


def _build(
    file: Path, weights: Mapping[str, torch.Tensor], metadata: ModelMetadata, other_names: bool = False
) -> Loaded:
    """Build the network that metadata describe, with the weights of a file.

    Args:
        file: The file, for messages.
        weights: Its tensors by name.
        metadata: Of the model.
        other_names: Whether the names are those of another library's same network.
    """
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
        load_weights(module, renamed(weights, module.state_dict()) if other_names else weights)
    except (RuntimeError, ModelError) as error:
        raise ModelFileError(f"{file} does not fit {metadata.architecture}, which its header names: {error}") from error
    return module, metadata, head_modules


def _read_program(file: Path) -> Loaded:
    """Build the network of a program of torch.export with its weights; the program itself is not run."""
    try:
        weights, header = read_program(file)
        if not header:
            raise UsageError(
                f"{file} is a program of torch.export without class names and InputSpec, so nothing can be predicted "
                "with it. Give one that tl export --to torch-export wrote."
            )
        metadata = ModelMetadata.from_json(header)
    except ModelFileError as error:
        raise ModelFileError(f"{file} is not a model that tl can load: {error}.") from error
    return _build(file, weights, metadata)


def _read_pickled(file: Path, trust: bool) -> Loaded:
    """Load a whole network with the metadata that it carries, or a state_dict with those of the note beside it."""
    loaded = load_pickled(file, trust)
    if isinstance(loaded, nn.Module) and (header := metadata_of(loaded)):
        return _check_full_model(file, loaded, header)
    note = read_note(file)
    if note is None or not isinstance(loaded, dict):
        what = "a network" if isinstance(loaded, nn.Module) else "weights" if isinstance(loaded, dict) else "something"
        beside = f" Nor is there {note_path(file).name} beside it, as tl export writes it." if what == "weights" else ""
        raise UsageError(
            f"{file} holds {what} without class names and InputSpec, so nothing can be predicted with it.{beside} Give "
            f"a run folder, its {MODEL_FILE}, or a full model that tl saved; or train with it: "
            f"{named('weights', str(file))}."
        )
    try:
        metadata = ModelMetadata.from_note(note.get("model"))
        layout = (note.get("options") or {}).get("layout", OWN_LAYOUT)
    except ModelFileError as error:
        raise ModelFileError(f"{note_path(file)} cannot be used: {error}.") from error
    return _build(file, loaded, metadata, other_names=layout != OWN_LAYOUT)


def _check_full_model(file: Path, module: nn.Module, header: Mapping[str, str]) -> Loaded:
    """Check that a pickled network takes the images that its metadata describe."""
    delattr(module, METADATA_ATTRIBUTE)
    module = module.float()  # It may be saved in half precision.
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
