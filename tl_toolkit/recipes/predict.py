"""Prediction: the likeliest classes of images that nobody labelled, as a stream."""

import glob
import os
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch

from tl_toolkit.data.sources.listing import images_below
from tl_toolkit.errors import ImageError
from tl_toolkit.events import Callback, WarningEvent, log_event
from tl_toolkit.inference.classifier import BATCH, ImageClassifier, Prediction
from tl_toolkit.io.files import is_folder
from tl_toolkit.io.reader_threads import ReadTask, call_with_stall_guard, readers

BATCHES_AHEAD = 2
"""Beside a GPU. On a CPU decoding and the network take turns with all cores: beside each other they took a tenth more
time (see tests/benchmarks/NOTES.md)."""


@dataclass(frozen=True, slots=True)
class FailedPrediction:
    """An image that could not be read, and why."""

    path: str
    error: str


Result = Prediction | FailedPrediction


def find_images(inputs: Iterable[str], callback: Callback = log_event) -> Iterator[str]:
    """Paths of images: files as they are, folders opened, patterns filled in.

    A path that does not exist is given all the same, so that it is reported and not lost.

    Args:
        inputs: Files, folders and globs.
        callback: Told what of a folder was passed over.
    """
    for given in inputs:
        if call_with_stall_guard(is_folder, Path(given)):
            yield from _images_in(Path(given), callback)
        elif glob.has_magic(given) and not os.path.lexists(given):
            found = glob.glob(given, recursive=True)  # noqa: PTH207  # Path.glob takes no absolute patterns
            # With ** a folder and the files below it are found: each file is given once.
            files = (path for name in found for path in _files_of(Path(name), callback))
            yield from sorted(dict.fromkeys(files)) or [given]
        else:
            yield given


def _files_of(path: Path, callback: Callback) -> list[str]:
    return _images_in(path, callback) if is_folder(path) else [str(path)]


def _images_in(folder: Path, callback: Callback) -> list[str]:
    images, passed_over = call_with_stall_guard(images_below, folder)
    for note in passed_over.notes():
        callback(WarningEvent(note))
    return images


def predict_stream(model: ImageClassifier, paths: Iterable[str], top_k: int) -> Iterator[Result]:
    """Predicts in the order of the paths, decoding the next batches while a GPU works on this one.

    Args:
        model: From `load`.
        paths: Image files; never all held at once.
        top_k: How many classes to tell.

    Yields:
        A Prediction for each image, or an Unpredicted where it cannot be read.
    """
    batches_ahead = 0 if model.compute.device.type == "cpu" else BATCHES_AHEAD
    ahead: deque[tuple[list[str], ReadTask[str, torch.Tensor]]] = deque()
    for batch in _batches(paths):
        ahead.append((batch, readers().start(model.to_pixels, batch)))
        if len(ahead) > batches_ahead:
            yield from _predict_batch(model, *ahead.popleft(), top_k)
    while ahead:
        yield from _predict_batch(model, *ahead.popleft(), top_k)


def _batches(paths: Iterable[str]) -> Iterator[list[str]]:
    iterator = iter(paths)
    while batch := list(islice(iterator, BATCH)):
        yield batch


def _predict_batch(
    model: ImageClassifier, paths: list[str], reading: ReadTask[str, torch.Tensor], top_k: int
) -> Iterator[Result]:
    outcomes = reading.outcomes()
    decoded = [pixels for pixels in outcomes if isinstance(pixels, torch.Tensor)]
    predictions: Iterator[Prediction] = iter(())
    if decoded:
        images = model.normalize(torch.stack(decoded).to(model.compute.device))
        names = [path for path, pixels in zip(paths, outcomes, strict=True) if isinstance(pixels, torch.Tensor)]
        predictions = iter(model.rank(model.logits(images), names, top_k))
    for path, outcome in zip(paths, outcomes, strict=True):
        yield FailedPrediction(path, outcome.reason) if isinstance(outcome, ImageError) else next(predictions)
