"""model.safetensors: weights, class names, InputSpec and provenance in one file, which runs no code when loaded.

It imports torch only where tensors are read or written: the metadata of an ONNX file serve where there is none.
"""

import base64
import binascii
import dataclasses
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import msgspec

from tl_toolkit.config.choices import Loss, Task
from tl_toolkit.errors import ModelFileError
from tl_toolkit.input_spec import InputSpec
from tl_toolkit.io.json_validation import convert
from tl_toolkit.io.packed_tensors import PackedTensor
from tl_toolkit.text import MAX_SHOWN, format_value

if TYPE_CHECKING:
    import torch

FORMAT = "tl_toolkit.model"
FORMAT_VERSION = "1"
LABELS_VERSION = "2"
"""Of a model that gives an image several labels: readers of version 1 alone would take the likeliest for its class."""

MAX_CLASSES = 2**20
"""Largest accepted output of a pretrained classifier, which is built before it is replaced."""

FINGERPRINT_BYTES = 5
"""Per image: 100,000 images take 0.67 MB of the header. Of a million new images, one matches one of a million noted
images by chance."""

TEXTS = ("architecture", "head", "weights", "loss", "weights_license", "task")
"""Fields of the header that are text; the others are JSON."""

REQUIRED = {"weights", "metrics", "training", "versions", "input_spec"}
"""Fields that every file has; here most of them have a default."""


class _Note(msgspec.Struct):
    """The JSON of `SplitFingerprints`."""

    learned: tuple[str, ...]
    splits: dict[str, str]


@dataclass(frozen=True)
class SplitFingerprints:
    """The images of each split, by content; unpacked on demand."""

    packed: Mapping[str, str]
    """Sorted fingerprints of each split, joined and in base64."""
    learned: tuple[str, ...]
    """The splits that the weights were trained on; after a refit this includes val."""

    @classmethod
    def of(cls, fingerprints: Mapping[str, Iterable[bytes]], learned: tuple[str, ...]) -> Self:
        """Pack the fingerprints of each split; images with the same content share one."""
        joined = {split: b"".join(sorted(set(prints))) for split, prints in fingerprints.items()}
        return cls({split: base64.b64encode(prints).decode("ascii") for split, prints in joined.items()}, learned)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {"learned": list(self.learned), "splits": dict(self.packed)}

    @classmethod
    def from_dict(cls, values: Any) -> Self:
        """Read what `to_dict` wrote.

        Raises:
            ValueError: A value is missing or of another type.
        """
        note: _Note = convert(values, _Note, "split_note")
        if not note.splits.keys() >= set(note.learned):
            raise ValueError("learned of split_note must name its splits")
        return cls(note.splits, note.learned)

    def fingerprints(self, split: str) -> frozenset[bytes]:
        """Return the fingerprints of a split, none if the run had no such split.

        Raises:
            ModelFileError: The fingerprints are damaged.
        """
        try:
            joined = base64.b64decode(self.packed.get(split, ""), validate=True)
        except (binascii.Error, ValueError) as error:
            raise ModelFileError(f"The model file's note of its {split} images is damaged: {error}.") from error
        starts = range(0, len(joined), FINGERPRINT_BYTES)
        return frozenset(joined[start : start + FINGERPRINT_BYTES] for start in starts)

    def seen(self) -> frozenset[bytes]:
        """Return the fingerprints of the images that the model learned from.

        Raises:
            ModelFileError: The fingerprints are damaged.
        """
        return frozenset().union(*map(self.fingerprints, self.learned))


@dataclass(frozen=True)
class NoveltyNote:
    """What tells images that are unlike those of training; `inference/novelty.py` computes and reads it.

    Attributes:
        layer: Name of the module whose inputs are the features (N, D).
        train_images: Images that the statistics are of.
        val_images: Images that the threshold was chosen on.
        flagged: Number of those above it.
        threshold: Images with a higher novelty are unknown.
        weights: What the distance and the highest logit are multiplied by, and what is added to their sum.
        means: Mean feature of each class (classes, D); where that is too large, its place in `basis` (classes, Q).
        centre: Mean of the means (D).
        basis: Orthonormal rows (Q, D); None where the means are whole.
        directions: Orthonormal rows (R, D), in which the features of a class vary most.
        variances: The variance in each of these directions.
        rest: The variance in each of all others.
    """

    layer: str
    train_images: int
    val_images: int
    flagged: int
    threshold: float
    weights: tuple[float, float, float]
    means: PackedTensor
    centre: PackedTensor
    basis: PackedTensor | None
    directions: PackedTensor
    variances: tuple[float, ...]
    rest: float


@dataclass(frozen=True)
class ModelMetadata:
    """Everything about a model but its tensors: the header of the file.

    Attributes:
        architecture: "torchvision:NAME" or "timm:NAME".
        arch_options: Options that the architecture was built with.
        head: How the classifier was changed: "swap", "append" or "mlp".
        base_classes: Outputs of the classifier before the change.
        class_names: In the order of the logits; with a single logit, the second is the positive class.
        one_logit: Whether one logit separates two classes.
        loss: The training loss, which determines how logits become probabilities.
        input_spec: The pixels that the model expects.
        weights: Origin of the pretrained weights.
        weights_license: Their licence; empty if unknown.
        metrics: Measured values by name.
        training: Settings of the run.
        versions: Versions of the packages that made the file.
        split_note: The images that the model learned from; None in files of earlier versions.
        task: Whether an image has one class ("multi-class"), several labels ("multi-label") or shares of classes
            ("soft").
        thresholds: Probability from which an image is given each label, of multi-label models; empty for 0.5 each.
        temperature: What logits are divided by before they become probabilities, chosen on val; 1 in files of earlier
            versions, and where nothing was chosen.
        novelty: What tells images that are unlike those of training; None where it is not known.
    """

    architecture: str
    head: str
    base_classes: int
    class_names: tuple[str, ...]
    input_spec: InputSpec
    arch_options: Mapping[str, Any] = field(default_factory=dict)
    one_logit: bool = False
    loss: Loss = "cross-entropy"
    weights: str = ""
    weights_license: str = ""
    metrics: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    split_note: SplitFingerprints | None = None
    task: Task = "multi-class"
    thresholds: tuple[float, ...] = ()
    temperature: float = 1.0
    novelty: NoveltyNote | None = None

    @property
    def outputs(self) -> int:
        """Number of logits."""
        return 1 if self.one_logit else len(self.class_names)

    def to_metadata(self) -> dict[str, str]:
        """Return the metadata of a safetensors header: text by name, with numbers, lists and mappings as JSON."""
        note = {"split_note": json.dumps(self.split_note.to_dict())} if self.split_note else {}
        labels = {} if self.task == "multi-class" else {"task": self.task, "thresholds": json.dumps(self.thresholds)}
        calibrated = {"temperature": json.dumps(self.temperature)} if self.temperature != 1 else {}
        novelty = {"novelty": json.dumps(dataclasses.asdict(self.novelty))} if self.novelty else {}
        return {
            "format": FORMAT,
            "format_version": LABELS_VERSION if self.task == "multi-label" else FORMAT_VERSION,
            "architecture": self.architecture,
            "arch_options": json.dumps(dict(self.arch_options)),
            "head": self.head,
            "base_classes": str(self.base_classes),
            "num_classes": str(len(self.class_names)),
            "class_names": json.dumps(self.class_names),
            "one_logit": json.dumps(self.one_logit),
            "loss": self.loss,
            "input_spec": json.dumps(self.input_spec.to_dict()),
            "weights": self.weights,
            "weights_license": self.weights_license,
            "metrics": json.dumps(dict(self.metrics)),
            "training": json.dumps(dict(self.training)),
            "versions": json.dumps(dict(self.versions)),
            **labels,
            **calibrated,
            **novelty,
            **note,
        }

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str]) -> Self:
        """Read what `to_metadata` wrote.

        Raises:
            ModelFileError: A value is missing or invalid.
        """
        if metadata.get("format") != FORMAT:
            if "checkpoint" in metadata:
                raise ModelFileError("it is the checkpoint of a run; give the run's folder, or its model.safetensors")
            raise ModelFileError(
                "it was not written by tl finetune or tl export --to safetensors: it has no class names. "
                "Weights alone can be trained with: tl finetune --weights FILE"
            )
        if metadata.get("format_version") not in (FORMAT_VERSION, LABELS_VERSION):
            found = metadata.get("format_version", "unknown")[:MAX_SHOWN]
            known = f"{FORMAT_VERSION} and {LABELS_VERSION}"
            raise ModelFileError(f"its format is version {found}, this tl reads {known}; update tl")
        try:
            fields = {field.name for field in dataclasses.fields(cls)}
            values: dict[str, Any] = {
                name: text if name in TEXTS else json.loads(text) for name, text in metadata.items() if name in fields
            }
            if missing := sorted(REQUIRED - values.keys()):
                raise ValueError(f"it lacks {', '.join(missing)}")
            values["input_spec"] = InputSpec.from_dict(values["input_spec"])
            if "split_note" in values:
                values["split_note"] = SplitFingerprints.from_dict(values["split_note"])
            model: Self = convert(values, cls)
        except (ValueError, TypeError, RecursionError) as error:
            raise ModelFileError(f"its header is damaged ({error})") from error
        if len(set(model.class_names)) != len(model.class_names) or len(model.class_names) < 2:
            raise ModelFileError("its class names are fewer than two, or not all different")
        if model.one_logit and len(model.class_names) != 2:
            raise ModelFileError(f"it has one logit, but {len(model.class_names)} classes")
        model._check_probabilities()
        if not 0 < model.base_classes <= MAX_CLASSES:
            raise ModelFileError(f"its base_classes {format_value(model.base_classes)} are not 1 to {MAX_CLASSES:,}")
        return model

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_metadata` wrote as a JSON object.

        Raises:
            ModelFileError: It is none, or a value is missing or invalid; the message is only the reason.
        """
        try:
            header = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ModelFileError(f"its header is damaged ({error})") from error
        if not isinstance(header, dict) or not all(isinstance(value, str) for value in header.values()):
            raise ModelFileError("its header is damaged (expected an object of texts)")
        return cls.from_metadata(header)

    @classmethod
    def from_note(cls, described: Any) -> Self:
        """Read what the note of an export says of its model: the header as plain values, without statistics of images.

        Raises:
            ModelFileError: A value is missing or invalid; the message is only the reason.
        """
        if not isinstance(described, dict):
            raise ModelFileError("its note is damaged (it does not describe a model)")
        version = LABELS_VERSION if described.get("task") == "multi-label" else FORMAT_VERSION
        texts = {
            name: value if name in TEXTS and isinstance(value, str) else json.dumps(value)
            for name, value in described.items()
        }
        return cls.from_metadata({**texts, "format": FORMAT, "format_version": version})

    def _check_probabilities(self) -> None:
        """Refuse a task, thresholds or a temperature that contradict the rest.

        Raises:
            ModelFileError: They do.
        """
        if self.task != "multi-class" and self.one_logit:
            raise ModelFileError(f"it has one logit, but its task is {self.task}")
        if len(self.thresholds) not in (0, len(self.class_names)):
            raise ModelFileError(f"it has {len(self.thresholds)} thresholds, but {len(self.class_names)} classes")
        if not all(0 <= threshold <= 1 for threshold in self.thresholds):
            raise ModelFileError("its thresholds are not from 0 to 1")
        if not 0 < self.temperature < math.inf:
            raise ModelFileError(f"its temperature {format_value(self.temperature)} is not a positive number")


def save_model(path: Path, state: "Mapping[str, torch.Tensor]", metadata: ModelMetadata) -> None:
    """Write or replace a model file atomically, from a network's state_dict and its metadata."""
    from tl_toolkit.io.safetensors_file import save_checked

    save_checked(path, state, metadata.to_metadata())


def read_metadata(path: Path) -> ModelMetadata:
    """Read only the header.

    Raises:
        ModelFileError: The file is missing, damaged or not a model of the toolkit.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as file:
            return ModelMetadata.from_metadata(file.metadata() or {})
    except (SafetensorError, OSError, ModelFileError) as error:
        raise ModelFileError(f"{path} is not a model that tl can load: {error}.") from error


def read_weights(path: Path) -> "dict[str, torch.Tensor]":
    """Read the tensors, and verify the whole file, its header included.

    Raises:
        ModelFileError: The file is missing or damaged.
    """
    from tl_toolkit.io.safetensors_file import load_checked

    try:
        return load_checked(path)[1]
    except ModelFileError as error:
        raise ModelFileError(f"{path} is not a model that tl can load: {error}.") from error
