"""What the models of runs give for images: kept by the run, or computed again."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from tl_toolkit.data.seen_images import split_title
from tl_toolkit.data.sources.base import Source, SourceOptions
from tl_toolkit.errors import DataError, ToolkitError
from tl_toolkit.events import Callback, DecisionEvent, WarningEvent
from tl_toolkit.inference.classifier import ImageClassifier
from tl_toolkit.inference.scoring import open_labelled
from tl_toolkit.inference.split_predictions import predict_split
from tl_toolkit.metrics.predictions import Predictions
from tl_toolkit.model_file import ModelMetadata
from tl_toolkit.runs.compared_run import ComparedRun

Load = Callable[[Any], ImageClassifier]
"""Loads a model from its path, to the device that the user wants."""


@dataclass(frozen=True)
class Judged:
    """What the model of a run gives for the images that it is judged on.

    Attributes:
        predictions: With the truth.
        class_names: In the order of the logits.
        thresholds: As in `Metric`.
        learned: Fingerprints of the images that it had learned from by then; None where unknown.
        where: What the images are, such as "test images".
    """

    predictions: Predictions
    class_names: Sequence[str]
    thresholds: torch.Tensor | None
    learned: frozenset[bytes] | None
    where: str


def judge_by_run(run: ComparedRun, split: str, load: Load, workers: int | None, callback: Callback) -> Judged:
    """Return what a run kept of a split, or if it kept nothing compute it from its model and its images.

    Raises:
        ToolkitError: It kept nothing, and its model or its images are not there.
    """
    if saved := run.saved_predictions(split):
        note = run.metadata.split_note if run.metadata else None
        # val was scored before the head learned from it.
        learned = None if note is None else note.fingerprints("train") if split == "val" else note.seen()
        thresholds = _thresholds(run.metadata) if run.metadata else None
        return _checked(Judged(saved, run.class_names, thresholds, learned, f"{split} images"))
    if run.model is None or run.metadata is None:
        raise ToolkitError(f"{run.place} has no model yet.")
    training = run.metadata.training
    if not training.get("data"):
        raise ToolkitError(f"{run.place} kept no predictions, and does not say what it was trained on.")
    callback(DecisionEvent("judged", run.place, f"computed now: the run kept no predictions of {split}"))
    source = _opened(training["data"], training, callback)
    model = load(run.model)
    return _judged(model, source, split, workers, callback)


def judge_on(
    run: ComparedRun, data: Any, reading: dict[str, Any], split: str | None, load: Load, workers: int | None,
    callback: Callback,
) -> Judged:  # fmt: skip
    """Compute what the model of a run gives for other images.

    Raises:
        ToolkitError: It does not fit the images, or there is none.
    """
    if run.model is None:
        raise ToolkitError(f"{run.place} has no model yet.")
    model = load(run.model)
    callback(DecisionEvent("judged", run.place))
    return _judged(model, _opened(data, {"task": model.task, **reading}, callback), split, workers, callback)


def _opened(data: Any, settings: Any, callback: Callback) -> Source:
    source = data if isinstance(data, Source) else open_labelled(data, SourceOptions.from_settings(settings))
    for note in source.notes:
        callback(WarningEvent(note))
    return source


def _judged(
    model: ImageClassifier, source: Source, split: str | None, workers: int | None, callback: Callback
) -> Judged:
    chosen, predictions = predict_split(model, source, split, workers, callback)
    note = model.metadata.split_note
    where = f"{split_title(chosen.split, chosen.of_run)} images"
    thresholds = _thresholds(model.metadata)
    return _checked(Judged(predictions, model.class_names, thresholds, note.seen() if note else None, where))


def _thresholds(metadata: ModelMetadata) -> torch.Tensor | None:
    return torch.tensor(metadata.thresholds) if metadata.thresholds else None


def _checked(judged: Judged) -> Judged:
    """Refuse predictions that are no numbers, and images that cannot be told apart.

    Raises:
        DataError: They are.
    """
    found = judged.predictions
    if broken := int((~found.logits.isfinite()).any(dim=1).sum()):
        raise DataError(f"its model gives NaN or infinity for {broken:,} of {len(found):,} images.")
    if not any(found.contents):
        raise DataError("its images have no fingerprints of their contents, by which those of another run are found.")
    return judged
