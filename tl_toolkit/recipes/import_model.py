"""Import: a network that another program trained, as a run folder with class names and preprocessing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tl_toolkit.config.choices import DIGITS, Task
from tl_toolkit.data.sources.base import open_source
from tl_toolkit.errors import UsageError, WeightsError
from tl_toolkit.events import Callback, DecisionEvent, WarningEvent, log_event
from tl_toolkit.exports.comparison import CheckBatch, Comparison, compare, module_outputs
from tl_toolkit.exports.images import check_images_of
from tl_toolkit.inference.classifier import ImageClassifier
from tl_toolkit.inference.loading import load
from tl_toolkit.io.class_names import check_class_names, read_class_names
from tl_toolkit.io.export_notes import read_note
from tl_toolkit.io.files import expand_path
from tl_toolkit.model_file import FORMAT, ModelMetadata
from tl_toolkit.models.backbones import OWN_NORMALIZATION
from tl_toolkit.models.weights.backbone_files import is_backbone
from tl_toolkit.models.weights.files import WeightFile, read_weight_file
from tl_toolkit.models.weights.foreign import ForeignNetwork, build_foreign, find_arch
from tl_toolkit.models.weights.torch_hub import file_sha256
from tl_toolkit.runs.folder import check_new_folder
from tl_toolkit.runs.imported import write_imported
from tl_toolkit.system.versions import package_versions
from tl_toolkit.text import named, plural
from tl_toolkit.training.device import select_device

COMPARED = 8
"""Images on which an imported network is compared with the one in the file."""

TOLERANCE = 1e-5
"""Largest difference of their outputs, as a share of the largest output. The same layers give the same bits, except
where the file's network was in another type or memory format."""


@dataclass(frozen=True)
class ImportedModel:
    """A run folder with a model that was trained elsewhere.

    Attributes:
        path: The run folder.
        model: The model, as `load` gives it.
        network: What was found in the file.
        comparison: How close its outputs are to those of the network in the file; None for a file of tensors alone.
        note: The content of import.json.
    """

    path: Path
    model: ImageClassifier
    network: ForeignNetwork
    comparison: Comparison | None
    note: Mapping[str, Any]


def import_model(
    file: str | Path,
    *,
    arch: str | None = None,
    classes_file: str | Path | None = None,
    class_names: Sequence[str] | None = None,
    task: Task = "multi-class",
    preprocessing: Mapping[str, Any] | None = None,
    arch_options: Mapping[str, Any] | None = None,
    ema: bool = False,
    trust: bool = False,
    out: str | Path | None = None,
    callback: Callback = log_event,
) -> ImportedModel:
    """Make a run folder from weights or a network that another program trained.

    Every tensor of the network must be in the file, and nothing else but what training alone uses; what is missing and
    what is unexpected is told side by side. The number of classes is that of the tensors.

    Args:
        file: A safetensors file, or what torch.save wrote: a state_dict, a network, or a checkpoint with one in it.
        arch: The network: a name from `tl models`. Not needed where the file names it.
        classes_file: A file with the class names in the order of the outputs; see `read_class_names`.
        class_names: The names themselves, in place of the file.
        task: Whether an image has one class ("multi-class"), several labels ("multi-label") or shares ("soft").
        preprocessing: What the network expects, where it differs from what the file or else the library says: `size`,
            `mean`, `std`, `interpolation`, `crop`, `crop_fraction`.
        arch_options: Options of the network's own.
        ema: Take the moving average of the weights that a checkpoint has beside them.
        trust: Load the file even if code in it would run.
        out: The run folder, which must not exist; by default one under runs/.
        callback: Receives decisions and warnings.

    Raises:
        UsageError: The network or the class names are not known, or the names are not as many as the outputs.
        WeightsError: The file does not fit the network, or its head is one that tl cannot build.
        UnsafeFileError: Without `trust`, loading the file could run code.
        ToolkitError: The run folder cannot be written.
    """
    path, folder = expand_path(file), None if out is None else str(out)
    check_new_folder(folder)
    names = _names(classes_file, class_names)
    content = read_weight_file(path, trust, ema)
    if content.metadata.get("format") == FORMAT or (read_note(path) and not is_backbone(content.metadata)):
        raise UsageError(
            f"{file} is a model that tl wrote, with class names and preprocessing: use it as it is, such as by "
            f"`tl predict --model {file} IMAGE`."
        )
    network = find_arch(content, path, arch, arch_options or {})
    callback(DecisionEvent("arch", str(network), "" if arch == str(network) else _why_arch(arch)))
    found = build_foreign(content, path, network, preprocessing or {})
    metadata = _metadata(found, _checked_names(found, names, file, task), task, path)
    for step in found.steps:
        callback(DecisionEvent("file", step))
    for warning in found.warnings:
        callback(WarningEvent(warning))
    comparison = _compare(content, found, metadata)
    note = _note(path, found, metadata, comparison)
    written = write_imported(folder, path.stem, found.module.state_dict(), metadata, note)
    return ImportedModel(written, load(written), found, comparison, note)


def _names(classes_file: str | Path | None, class_names: Sequence[str] | None) -> tuple[str, ...] | None:
    """Return the class names that the user gives; None for none."""
    if classes_file is not None and class_names is not None:
        raise UsageError(f"Give {named('classes_file')} or {named('class_names')}, not both.")
    if classes_file is not None:
        return read_class_names(expand_path(classes_file))
    if class_names is None:
        return None
    names = tuple(class_names)
    check_class_names(names, named("class_names"))
    return names


def _why_arch(arch: str | None) -> str:
    return "what the file says" if arch is None else ""


def _checked_names(
    found: ForeignNetwork, names: tuple[str, ...] | None, file: str | Path, task: Task
) -> tuple[str, ...]:
    """Return the class names, if there are as many as the network has outputs.

    Raises:
        UsageError: There are not.
    """
    outputs = f"{plural(found.outputs, 'output')} ({found.layer})"
    start = f"To train it for other classes it needs none: {named('weights', str(file))} of tl finetune."
    if names is None:
        wanted = 2 if found.outputs == 1 else found.outputs
        raise UsageError(
            f"{file} has {outputs} and no class names: give {wanted:,} names in their order, "
            f"{named('classes_file', 'FILE')} with one on each line. {start}"
        )
    if found.outputs == 1 and task != "multi-class":
        raise UsageError(f"{file} has {outputs}, which separates two classes: it is of no {task} data.")
    if len(names) != (2 if found.outputs == 1 else found.outputs):
        two = ", so it separates two classes" if found.outputs == 1 else ""
        raise UsageError(
            f"There are {plural(len(names), 'class name')}, but {file} has {outputs}{two}. Give a name for each, in "
            f"their order. {start}"
        )
    return names


def _metadata(found: ForeignNetwork, names: tuple[str, ...], task: Task, path: Path) -> ModelMetadata:
    one_logit = found.outputs == 1
    return ModelMetadata(
        architecture=str(found.arch),
        head=found.head,
        base_classes=found.base_classes,
        class_names=names,
        input_spec=found.input_spec,
        arch_options=dict(found.arch.options),
        one_logit=one_logit,
        loss="bce" if one_logit or task == "multi-label" else "cross-entropy",
        weights=f"imported from {path.name} (SHA-256 {file_sha256(path)[:16]})",
        versions=package_versions(),
        task=task,
    )


def _compare(content: WeightFile, found: ForeignNetwork, metadata: ModelMetadata) -> Comparison | None:
    """Compare the outputs with those of the network in the file; its tensors alone give none.

    Raises:
        WeightsError: They differ: the network has layers without tensors that the library's own has not.
    """
    if content.network is None:
        return None
    model = ImageClassifier(found.module, metadata, select_device("cpu", "fp32"))
    check = check_images_of(open_source(DIGITS).split("test"), "digits that come with tl", COMPARED)
    theirs = _without_own_normalization(content.network, found).float()

    def expected(batch: CheckBatch) -> torch.Tensor:
        try:
            return module_outputs(theirs)(batch)
        except Exception as error:  # The file may hold any layers in any order.
            raise WeightsError(f"The network in the file does not take its own input: {error}") from error

    comparison = compare(module_outputs(found.module), expected, model, check)
    if comparison.max_difference > TOLERANCE * max(1.0, comparison.largest):
        raise WeightsError(
            f"The network in the file is no plain {found.arch}: with the same tensors, {found.arch} gives other "
            f"outputs ({comparison.describe()}). A layer without tensors was changed, such as an activation. Only its "
            f"weights can be used, as the start of a fine-tune: {named('weights', 'FILE')}."
        )
    return comparison


def _without_own_normalization(network: nn.Module, found: ForeignNetwork) -> nn.Module:
    """Return a network that leaves the normalisation of its input to the InputSpec, as tl builds it."""
    if found.arch.name in OWN_NORMALIZATION and hasattr(network, "transform_input"):
        network.transform_input = False  # type: ignore[assignment]  # a plain attribute of these networks
    return network


def _note(path: Path, found: ForeignNetwork, metadata: ModelMetadata, comparison: Comparison | None) -> dict[str, Any]:
    return {
        "file": str(path.absolute()),
        "sha256": file_sha256(path),
        "architecture": metadata.architecture,
        "head": found.head,
        "outputs": found.outputs,
        "class_names": list(metadata.class_names),
        "task": metadata.task,
        "input_spec": metadata.input_spec.to_dict(),
        "steps": list(found.steps),
        "warnings": list(found.warnings),
        "matched": len(found.match.matched),
        "missing": list(found.match.missing),
        "unexpected": list(found.match.unexpected),
        "comparison": comparison.to_dict() if comparison else None,
        "versions": dict(metadata.versions),
    }
