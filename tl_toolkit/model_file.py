"""model.safetensors: weights, class names, InputSpec and provenance in one file that runs no code."""

import base64
import binascii
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, get_args

import torch
from safetensors import SafetensorError, safe_open

from tl_toolkit.config.choices import Loss
from tl_toolkit.errors import ModelFileError
from tl_toolkit.input_spec import InputSpec
from tl_toolkit.io.json_validation import mapping, whole_number
from tl_toolkit.io.safetensors_file import load_checked, save_checked
from tl_toolkit.text import MAX_SHOWN, format_value

FORMAT = "tl_toolkit.model"
FORMAT_VERSION = "1"
MAX_CLASSES = 2**20
"""Outputs of a pretrained classifier that are believed of a file: it is built before it is replaced."""


FINGERPRINT_BYTES = 5
"""Of each image: 100,000 images take 0.67 MB of a model file's header. Where a million are noted, one new image in a
million is taken for one of them by chance."""


@dataclass(frozen=True)
class SplitFingerprints:
    """The images of a run by content. They are unpacked only when they are asked for.

    Attributes:
        packed: Fingerprints of the images of a split, sorted, joined and in base64, by its name.
        learned: The splits that the weights were trained on. After a refit val is one of them.
    """

    packed: Mapping[str, str]
    learned: tuple[str, ...]

    @classmethod
    def of(cls, fingerprints: Mapping[str, Iterable[bytes]], learned: tuple[str, ...]) -> Self:
        """Packs the fingerprints of each split; images with the same content have one."""
        joined = {split: b"".join(sorted(set(prints))) for split, prints in fingerprints.items()}
        return cls({split: base64.b64encode(prints).decode("ascii") for split, prints in joined.items()}, learned)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {"learned": list(self.learned), "splits": dict(self.packed)}

    @classmethod
    def from_dict(cls, values: Any) -> Self:
        """Reads what `to_dict` wrote.

        Raises:
            ValueError: It is none.
        """
        note = mapping(values, "split_note")
        packed, learned = mapping(note.get("splits"), "splits of split_note"), note.get("learned")
        if not all(isinstance(prints, str) for prints in packed.values()):
            raise ValueError("splits of split_note must be text")
        if not isinstance(learned, list) or not all(isinstance(split, str) and split in packed for split in learned):
            raise ValueError("learned of split_note must name its splits")
        return cls(packed, tuple(learned))

    def fingerprints(self, split: str) -> frozenset[bytes]:
        """Those of a split; none where the run had no such split.

        Raises:
            ModelFileError: The note is damaged.
        """
        try:
            joined = base64.b64decode(self.packed.get(split, ""), validate=True)
        except (binascii.Error, ValueError) as error:
            raise ModelFileError(f"The model file's note of its {split} images is damaged: {error}.") from error
        starts = range(0, len(joined), FINGERPRINT_BYTES)
        return frozenset(joined[start : start + FINGERPRINT_BYTES] for start in starts)

    def seen(self) -> frozenset[bytes]:
        """Those of the images that the model learned from.

        Raises:
            ModelFileError: The note is damaged.
        """
        return frozenset().union(*map(self.fingerprints, self.learned))


@dataclass(frozen=True)
class ModelMetadata:
    """Everything about a model but its tensors: what the file's header holds.

    Attributes:
        architecture: "torchvision:NAME" or "timm:NAME".
        arch_options: Options of its own that it was built with.
        head: How the classifier was changed: "swap", "append" or "mlp".
        base_classes: Outputs of the classifier before that.
        class_names: In the order of the logits; of a single logit, the second is the positive class.
        one_logit: Whether two classes are told apart by one logit.
        loss: What it was trained with, which says how logits become probabilities.
        input_spec: The pixels the model expects.
        weights: Where the pretrained weights came from.
        weights_license: Their licence; empty where it is unknown.
        metrics: What was measured, by name.
        training: The run's settings.
        versions: Of the packages that made the file.
        split_note: Which images it learned from; None where that is not known, as of a file of an earlier version.
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

    @property
    def outputs(self) -> int:
        """Logits of the network."""
        return 1 if self.one_logit else len(self.class_names)

    def to_metadata(self) -> dict[str, str]:
        """The card as a safetensors header takes it: text by text. Numbers, lists and mappings are JSON."""
        noted = {"split_note": json.dumps(self.split_note.to_dict())} if self.split_note else {}
        return {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
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
            **noted,
        }

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str]) -> Self:
        """Reads what `to_metadata` wrote.

        Raises:
            ModelFileError: Something is missing or makes no sense.
        """
        if metadata.get("format") != FORMAT:
            if "checkpoint" in metadata:
                raise ModelFileError("it is the checkpoint of a run; give the run's folder, or its model.safetensors")
            raise ModelFileError(
                "it was not written by tl finetune or tl export --to safetensors: it is without class names. "
                "Weights alone can be trained with: tl finetune --weights FILE"
            )
        if metadata.get("format_version") != FORMAT_VERSION:
            found = metadata.get("format_version", "unknown")[:MAX_SHOWN]
            raise ModelFileError(f"its format is version {found}, this tl reads {FORMAT_VERSION}; update tl")
        try:
            class_names = json.loads(metadata["class_names"])
            if not isinstance(class_names, list) or not all(isinstance(name, str) for name in class_names):
                raise ModelFileError("its class names are no list of text")
            if len(set(class_names)) != len(class_names) or len(class_names) < 2:
                raise ModelFileError("its class names are fewer than two, or not all different")
            loss, one_logit = metadata.get("loss", "cross-entropy"), json.loads(metadata.get("one_logit", "false"))
            if loss not in get_args(Loss) or one_logit not in (True, False):
                raise ModelFileError(
                    f"its loss {format_value(loss)} or its one_logit {format_value(one_logit)} is unknown"
                )
            if one_logit and len(class_names) != 2:
                raise ModelFileError(f"it has one logit, but {len(class_names)} classes")
            base_classes = whole_number(int(metadata["base_classes"]), "base_classes")
            if not 0 < base_classes <= MAX_CLASSES:
                raise ModelFileError(f"its base_classes {base_classes} are not 1 to {MAX_CLASSES:,}")
            return cls(
                architecture=metadata["architecture"],
                arch_options=mapping(json.loads(metadata.get("arch_options", "{}")), "arch_options"),
                one_logit=one_logit,
                loss=loss,  # type: ignore[arg-type]  # checked above
                head=metadata["head"],
                base_classes=base_classes,
                class_names=tuple(class_names),
                input_spec=InputSpec.from_dict(json.loads(metadata["input_spec"])),
                weights=metadata["weights"],
                weights_license=metadata.get("weights_license", ""),
                metrics=mapping(json.loads(metadata["metrics"]), "metrics"),
                training=mapping(json.loads(metadata["training"]), "training"),
                versions=mapping(json.loads(metadata["versions"]), "versions"),
                split_note=SplitFingerprints.from_dict(json.loads(metadata["split_note"]))
                if "split_note" in metadata
                else None,
            )
        except (KeyError, ValueError, TypeError, AttributeError, OverflowError, RecursionError) as error:
            raise ModelFileError(f"its header is damaged ({error})") from error


def save_model(path: Path, state: Mapping[str, torch.Tensor], metadata: ModelMetadata) -> None:
    """Writes weights and card, whole or not at all.

    Args:
        path: The file to write or replace.
        state: A network's state_dict.
        metadata: What describes it.
    """
    save_checked(path, state, metadata.to_metadata())


def read_metadata(path: Path) -> ModelMetadata:
    """Reads the card alone.

    Raises:
        ModelFileError: The file is missing, damaged or not the toolkit's.
    """
    try:
        with safe_open(path, framework="pt") as file:
            return ModelMetadata.from_metadata(file.metadata() or {})
    except (SafetensorError, OSError, ModelFileError) as error:
        raise ModelFileError(f"{path} is no model that tl can load: {error}.") from error


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """Reads the tensors, and checks the whole file: its card too is what was written.

    Raises:
        ModelFileError: The file is missing or damaged.
    """
    try:
        return load_checked(path)[1]
    except ModelFileError as error:
        raise ModelFileError(f"{path} is no model that tl can load: {error}.") from error
