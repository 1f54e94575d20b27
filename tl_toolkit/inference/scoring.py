"""Scoring a model on labelled samples."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from tl_toolkit.data.dataset import eval_images
from tl_toolkit.data.loaders import default_num_workers, eval_loader
from tl_toolkit.data.samples import Samples
from tl_toolkit.errors import DataError
from tl_toolkit.inference.classifier import ImageClassifier
from tl_toolkit.metrics.classification import Scores
from tl_toolkit.text import join_names
from tl_toolkit.training.loop import evaluate_batches
from tl_toolkit.training.losses import Criterion

SHOWN = 10


BATCH = 64


def score(model: ImageClassifier, samples: Samples, workers: int | None) -> Scores:
    """Judges a model on samples whose targets are the model's own."""
    dataset = eval_images(samples, model.input_spec)
    loader = eval_loader(dataset, BATCH, default_num_workers(len(dataset)) if workers is None else workers)

    def prepare(images: Any) -> Any:
        return model.normalize(images).contiguous(memory_format=model.compute.memory_format)

    with model.compute.inference():
        return evaluate_batches(
            model.module, loader, prepare, len(model.class_names), model.compute.device, Criterion(model.metadata.loss)
        )


def class_accuracy(scores: Scores, class_names: Sequence[str]) -> dict[str, float]:
    """Accuracy of each class that has images, by name."""
    pairs = zip(class_names, scores.class_accuracy, strict=True)
    return {name: accuracy for name, accuracy in pairs if accuracy is not None}


def remap_targets(samples: Samples, data_classes: Sequence[str], model_classes: Sequence[str]) -> Samples:
    """The samples with the model's indices as targets.

    Raises:
        DataError: Images of a class that the model does not know.
    """
    position = {name: index for index, name in enumerate(model_classes)}
    used = [data_classes[target] for target in dict.fromkeys(samples.targets)]
    unknown = sorted(name for name in used if name not in position)
    if unknown:
        advice = _advice(unknown, used, model_classes)
        raise DataError(
            f"The model does not know {len(unknown)} of the data's {len(used)} classes: "
            f"{join_names(unknown, SHOWN)}. It knows {join_names(model_classes, SHOWN)}.{advice}"
        )
    return dataclasses.replace(samples, targets=[position[data_classes[target]] for target in samples.targets])


def _advice(unknown: Sequence[str], used: Sequence[str], model_classes: Sequence[str]) -> str:
    """What to do about class folders that are called almost like the model's classes, or are no classes."""
    by_case = {name.casefold(): name for name in model_classes}
    if meant := {name: by_case[name.casefold()] for name in unknown if name.casefold() in by_case}:
        pairs = join_names([f"{name} to {known}" for name, known in meant.items()], SHOWN)
        return f" {'Some names differ' if len(meant) > 1 else 'A name differs'} in case only: rename {pairs}."
    if len(unknown) == len(used):
        return (
            " If these folders are no classes, their images have no truth to be judged by: name them with tl predict."
        )
    return ""
