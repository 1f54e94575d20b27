"""Networks in files: reading and building them, without running code in the file."""

from pathlib import Path
from typing import get_args

import torch
from torch import nn

from tl_toolkit.config.choices import Head, Precision
from tl_toolkit.errors import ModelFileError, UsageError
from tl_toolkit.inference.classifier import ImageClassifier
from tl_toolkit.io.own_files import MODEL_FILE
from tl_toolkit.model_file import ModelMetadata, read_metadata, read_weights
from tl_toolkit.models.backbones import blank_image, resolve_arch
from tl_toolkit.models.build import rebuild_network
from tl_toolkit.models.pickles.load import METADATA_ATTRIBUTE, load_pickled, metadata_of
from tl_toolkit.models.weights.file_kinds import Kind
from tl_toolkit.text import format_value, named
from tl_toolkit.training.device import select_device


def load_network(file: Path, kind: Kind, device: str, precision: Precision, trust: bool) -> ImageClassifier:
    """Load a model file of torch's; see `loading.load`."""
    if kind == "safetensors":
        module, metadata, head_modules = _read(file)
    else:
        module, metadata, head_modules = _read_full_model(file, trust)
    return ImageClassifier(module, metadata, select_device(device, precision, module), head_modules)


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
