"""The folder of a model for the Hugging Face Hub: weights, timm's description and the model card."""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from tl_toolkit.errors import ModelError, ToolkitError
from tl_toolkit.exports.comparison import CheckImages, Comparison, compare, module_outputs
from tl_toolkit.exports.timm_config import CONFIG_FILE, WEIGHTS_FILE, own_config, timm_config, with_note
from tl_toolkit.inference.classifier import ImageClassifier
from tl_toolkit.inference.loading import load
from tl_toolkit.io.files import write_text
from tl_toolkit.model_file import ModelMetadata, save_model
from tl_toolkit.models.backbones import resolve_arch
from tl_toolkit.models.timm_twin import TimmTwin, timm_twin
from tl_toolkit.report.card_metadata import data_name
from tl_toolkit.report.card_text import without_folders
from tl_toolkit.report.hub_card import hub_card, short_card
from tl_toolkit.system.libraries import timm

CARD_FILE = "README.md"

HUB = ("hf:", "hf-hub:")
PLACES = ("data", "data_root", "image_root", "weights")
"""Settings that may be paths or URLs of the author's."""

ROUNDING = 1e-4
"""Largest difference of a converted network's outputs, relative to the largest where that is above 1."""


@dataclass(frozen=True)
class HubFolder:
    """A written folder.

    Attributes:
        architecture: The network that it holds.
        comparison: How close its outputs are to the model's, loaded by timm; where timm cannot, by the toolkit.
        not_timm: Why timm cannot load it; empty if it can.
        changed: What is not as in the run, as sentences.
        sizes: Size of each file in bytes.
    """

    architecture: str
    comparison: Comparison
    not_timm: str
    changed: tuple[str, ...]
    sizes: Mapping[str, int]


def write_hub_folder(
    model: ImageClassifier, card: str | None, repository: str, folder: Path, check: CheckImages
) -> HubFolder:
    """Write a folder that timm loads where it has the network, and load it again.

    Args:
        model: The model, on the CPU in fp32 and torch's usual memory format.
        card: The model card of its run; None to write a short one.
        repository: "ORG/NAME".
        folder: An empty folder.
        check: Images to compare the outputs on.

    Raises:
        ToolkitError: A file cannot be written, or gives other outputs than the model.
    """
    published = without_places(model.metadata)
    twin, not_timm = _find_twin(model)
    changed: list[str] = []
    comparison = None
    if twin is not None:
        metadata, changed = _of_twin(published, model, twin)
        save_model(folder / WEIGHTS_FILE, twin.module.state_dict(), metadata)
        _write_json(folder / CONFIG_FILE, timm_config(twin, metadata))
        comparison = _loaded_by_timm(model, folder, check)
        if not _is_close(comparison, exact=str(twin.arch) == published.architecture and not twin.changed):
            size = f"{published.input_spec.height}x{published.input_spec.width} px"
            twin, comparison, changed = None, None, []
            not_timm = f"its network of that name gives other outputs for images of {size}"
    if twin is None:
        metadata = published
        save_model(folder / WEIGHTS_FILE, model.module.state_dict(), metadata)
    ours = _compared(load(folder / WEIGHTS_FILE, device="cpu", precision="fp32").module, model, check)
    if not _is_close(ours, exact=twin is None):
        raise ToolkitError(
            f"{WEIGHTS_FILE} gives other outputs than the model on {ours.images} images ({ours.source}): they differ "
            f"by up to {ours.max_difference:.2g}. Nothing is published."
        )
    comparison = comparison or ours
    config = timm_config(twin, metadata) if twin else own_config(metadata)
    _write_json(folder / CONFIG_FILE, with_note(config, _note(metadata, model.metadata, comparison, changed)))
    text = card or short_card(metadata, sum(weight.numel() for weight in model.module.parameters()))
    notes = [*changed, f"timm cannot load it: {not_timm}."] if not_timm else changed
    readme = hub_card(text, published, metadata, repository, for_timm=twin is not None, notes=notes)
    write_text(folder / CARD_FILE, readme)
    sizes = {file.name: file.stat().st_size for file in sorted(folder.iterdir())}
    return HubFolder(metadata.architecture, comparison, not_timm, tuple(changed), sizes)


def without_places(metadata: ModelMetadata) -> ModelMetadata:
    """Return metadata that do not tell where the author's files are: of a path or URL, the last part is left."""
    training = {
        name: data_name(value) if name in PLACES and isinstance(value, str) and not value.startswith(HUB) else value
        for name, value in metadata.training.items()
    }
    weights = without_folders(metadata.weights, str(metadata.training.get("weights") or "\0"))
    return dataclasses.replace(metadata, training=training, weights=weights)


def _find_twin(model: ImageClassifier) -> tuple[TimmTwin | None, str]:
    """Return timm's own network of a model, or why there is none."""
    metadata = model.metadata
    arch = resolve_arch(metadata.architecture, metadata.arch_options)
    try:
        twin = timm_twin(
            model.module,
            arch,
            metadata.head,  # type: ignore[arg-type]  # of a model that was loaded
            model.head_modules,
            metadata.outputs,
            metadata.input_spec,
        )
    except ModelError as error:
        return None, str(error)
    return twin, ""


def _of_twin(published: ModelMetadata, model: ImageClassifier, twin: TimmTwin) -> tuple[ModelMetadata, list[str]]:
    """Return the metadata of timm's network, and what is not as in the run."""
    changed = [twin.changed] if twin.changed else []
    if str(twin.arch) != published.architecture:
        changed.append(f"The weights have timm's names, of its {twin.arch.name}.")
    note = published.novelty
    if note is not None and twin.changed:
        note = None  # Its features are the inputs of the appended Linear, which is gone.
        changed.append("It does not tell unknown images: what that needs is the layer before.")
    elif note is not None and note.layer in model.head_modules:
        note = dataclasses.replace(note, layer=twin.classifier)
    described = dataclasses.replace(
        published, architecture=str(twin.arch), arch_options=dict(twin.arch.options), head="swap", novelty=note
    )
    return described, changed


def _loaded_by_timm(model: ImageClassifier, folder: Path, check: CheckImages) -> Comparison:
    """Load a folder as timm's users do, and compare its outputs with the model's.

    Raises:
        ToolkitError: timm cannot load it.
    """
    try:
        module = timm.create_model(f"local-dir:{folder}", pretrained=True)
    except Exception as error:  # It raises errors of every type.
        raise ToolkitError(f"timm cannot load what was written for it: {error}") from error
    return _compared(module, model, check)


def _compared(module: nn.Module, model: ImageClassifier, check: CheckImages) -> Comparison:
    return compare(module_outputs(module), lambda batch: model.logits(batch.inputs), model, check)


def _is_close(found: Comparison, exact: bool) -> bool:
    """Return whether outputs are the same, or differ by rounding alone and give the same classes."""
    tolerance = 0.0 if exact else ROUNDING * max(1.0, found.largest)
    return found.max_difference <= tolerance and found.agreement == 1


def _note(
    metadata: ModelMetadata, trained: ModelMetadata, comparison: Comparison, changed: list[str]
) -> dict[str, Any]:
    """Return what the toolkit adds to the description: how outputs become answers, and how it was checked."""
    return {
        "task": metadata.task,
        "loss": metadata.loss,
        "temperature": metadata.temperature,
        "thresholds": list(metadata.thresholds),
        "trained_as": {"architecture": trained.architecture, "head": trained.head},
        "changed": changed,
        "versions": dict(metadata.versions),
        "comparison": comparison.to_dict(),
    }


def _write_json(path: Path, values: Mapping[str, Any]) -> None:
    write_text(path, json.dumps(values, indent=2) + "\n")
