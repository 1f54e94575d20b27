"""Scoring a model on labelled images."""

import dataclasses
import os
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from tl_toolkit.config.choices import DIGITS
from tl_toolkit.data.dataset import eval_images
from tl_toolkit.data.loaders import dealt_eval_loader, default_num_workers
from tl_toolkit.data.samples import Samples
from tl_toolkit.data.sources.base import Source, SourceOptions, open_source
from tl_toolkit.data.sources.names import SHARD_ENDING, TABLE_ENDINGS
from tl_toolkit.data.sources.shard_files import find_shards
from tl_toolkit.data.targets import are_rows, class_indices, classes_in, remap
from tl_toolkit.errors import DataError, UsageError
from tl_toolkit.inference.classifier import ImageClassifier
from tl_toolkit.io.files import expand_path, is_file
from tl_toolkit.io.reader_threads import call_with_stall_guard
from tl_toolkit.metrics.base import METRICS, Scores, Thresholds
from tl_toolkit.metrics.predictions import PredictionKeeper
from tl_toolkit.text import join_names, plural
from tl_toolkit.training.evaluation import evaluate_batches
from tl_toolkit.training.losses import Criterion

MAX_NAMED = 10
"""Classes that a message names."""

BATCH = 64


def score(
    model: ImageClassifier,
    samples: Samples,
    workers: int | None,
    thresholds: Thresholds = None,
    keeper: PredictionKeeper | None = None,
    metrics: Iterable[str] = METRICS,
) -> Scores:
    """Compute loss and metrics of a model on samples whose targets are the model's own.

    Args:
        model: The model.
        samples: The images.
        workers: Worker processes that decode; None for the default.
        thresholds: In place of the model's own; see `Metric`.
        keeper: Receives logits, targets and features.
        metrics: Names of the metrics to compute; by default all.
    """
    dataset = eval_images(samples, model.input_spec)
    loader = dealt_eval_loader(dataset, BATCH, default_num_workers(len(dataset)) if workers is None else workers)

    def prepare(images: Any) -> Any:
        return model.normalize(images).contiguous(memory_format=model.compute.memory_format)

    with model.compute.inference():
        return evaluate_batches(
            model.module,
            loader,
            prepare,
            len(model.class_names),
            model.compute.device,
            Criterion(model.metadata.loss),
            metrics,
            task=model.task,
            thresholds=model.thresholds if thresholds is None else thresholds,
            temperature=model.metadata.temperature,
            keeper=keeper,
            head=model.head,
            intervals=bool(metrics),
        )


def open_labelled(spec: Any, options: SourceOptions | None = None) -> Source:
    """Open images to score a model on, as `open_source` does.

    Raises:
        UsageError: They are files without class folders.
    """
    if isinstance(spec, str | Path) and str(spec) != DIGITS:
        place = expand_path(spec)
        problem = ""
        if is_file(place) and not place.name.lower().endswith((*TABLE_ENDINGS, SHARD_ENDING)):
            problem = f"{spec} is a file, and nothing says what is in it."
        elif files := 0 if find_shards(str(spec)) else call_with_stall_guard(_count_unlabelled, place):
            count = plural(files, "file")
            problem = f"{spec} has {count} and no class folders, so nothing says what is in them."
        if problem:
            raise UsageError(f"{problem} To name the likeliest classes: tl predict {shlex.quote(str(spec))}")
    return open_source(spec, options)


def _count_unlabelled(folder: Path) -> int:
    """Return the number of files in a folder; 0 where it also has folders, or is none."""
    try:
        with os.scandir(folder) as entries:
            are_files = [entry.is_file() for entry in entries if not entry.name.startswith(".")]
    except (OSError, ValueError):
        return 0
    return len(are_files) if all(are_files) else 0


def check_task(model: ImageClassifier, source: Source) -> None:
    """Refuse data that say other things of an image than the model does.

    Raises:
        DataError: One has a class an image, and the other several labels or soft labels.
    """
    if model.task != source.task:
        told = {"multi-class": "one class", "multi-label": "any number of labels", "soft": "shares of the classes"}
        raise DataError(
            f"The model gives an image {told[model.task]} ({model.task}), but in {source.name} an image has "
            f"{told[source.task]} ({source.task}), so they cannot be compared."
        )


def remap_targets(samples: Samples, data_classes: Sequence[str], model_classes: Sequence[str]) -> Samples:
    """Return the samples with the model's class indices as targets, or with its classes in the order of the columns.

    Raises:
        DataError: The model does not know a class of the data.
    """
    position = {name: index for index, name in enumerate(model_classes)}
    targets = samples.targets
    present = sorted(classes_in(targets)) if are_rows(targets) else list(dict.fromkeys(class_indices(targets)))
    used = [data_classes[target] for target in present]
    unknown = sorted(name for name in used if name not in position)
    if unknown:
        raise DataError(
            f"The model does not know {len(unknown)} of the data's {len(used)} classes: "
            f"{join_names(unknown, MAX_NAMED)}. It knows {join_names(model_classes, MAX_NAMED)}."
            f"{_advice(unknown, used, model_classes)}"
        )
    places = {target: position[data_classes[target]] for target in present}
    return dataclasses.replace(samples, targets=remap(targets, places, len(model_classes)))


def _advice(unknown: Sequence[str], used: Sequence[str], model_classes: Sequence[str]) -> str:
    """Return what to do about class folders whose names almost match the model's classes, or are not classes."""
    by_case = {name.casefold(): name for name in model_classes}
    if meant := {name: by_case[name.casefold()] for name in unknown if name.casefold() in by_case}:
        pairs = join_names([f"{name} to {known}" for name, known in meant.items()], MAX_NAMED)
        return f" {'Some names differ' if len(meant) > 1 else 'A name differs'} in case only: rename {pairs}."
    if len(unknown) == len(used):
        return (
            " If these folders are not classes, their images have no labels to compare with: name them with tl predict."
        )
    return ""
