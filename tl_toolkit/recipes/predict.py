"""Prediction: the likeliest classes of unlabelled images, as a stream."""

import glob
import os
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from tl_toolkit.data.sources.listing import images_below
from tl_toolkit.errors import ImageError
from tl_toolkit.events import Callback, WarningEvent, log_event
from tl_toolkit.inference.prediction import FailedPrediction, Prediction
from tl_toolkit.inference.predictor import BATCH, Predictor
from tl_toolkit.io.files import is_folder
from tl_toolkit.io.reader_threads import ReadTask, call_with_stall_guard, readers


def find_images(inputs: Iterable[str], callback: Callback = log_event) -> Iterator[str]:
    """Yield paths of images: files as they are, what folders hold, what patterns match.

    A path that does not exist is included, so that it is reported.

    Args:
        inputs: Files, folders and globs.
        callback: Receives warnings of what of a folder is left out.
    """
    for path in inputs:
        if call_with_stall_guard(is_folder, Path(path)):
            yield from _images_in(Path(path), callback)
        elif glob.has_magic(path) and not os.path.lexists(path):
            found = glob.glob(path, recursive=True)  # noqa: PTH207  # Path.glob takes no absolute patterns
            # With ** both a folder and the files below it match: each file is included once.
            files = (file for name in map(Path, found) for file in _files_of(name, callback))
            yield from sorted(dict.fromkeys(files)) or [path]
        else:
            yield path


def _files_of(path: Path, callback: Callback) -> list[str]:
    return _images_in(path, callback) if is_folder(path) else [str(path)]


def _images_in(folder: Path, callback: Callback) -> list[str]:
    images, passed_over = call_with_stall_guard(images_below, folder)
    for note in passed_over.notes():
        callback(WarningEvent(note))
    return images


def predict_stream(
    model: Predictor, paths: Iterable[str], top_k: int, abstain_below: float | None = None
) -> Iterator[Prediction | FailedPrediction]:
    """Predict in the order of the paths, decoding the next batches while a GPU works on this one.

    Args:
        model: A model from `load`.
        paths: Image files; only a few batches of them are held at once.
        top_k: Number of classes to name.
        abstain_below: See `Predictor.predict`.

    Yields:
        A Prediction for each image, or a FailedPrediction if it cannot be read.
    """
    ahead: deque[tuple[list[str], ReadTask[str, Any]]] = deque()
    iterator = iter(paths)
    while batch := list(islice(iterator, BATCH)):
        ahead.append((batch, readers().start(model.to_pixels, batch)))
        if len(ahead) > model.batches_ahead:
            yield from _predict_batch(model, *ahead.popleft(), top_k, abstain_below)
    while ahead:
        yield from _predict_batch(model, *ahead.popleft(), top_k, abstain_below)


def _predict_batch(
    model: Predictor,
    paths: list[str],
    reading: ReadTask[str, Any],
    top_k: int,
    abstain_below: float | None,
) -> Iterator[Prediction | FailedPrediction]:
    outcomes = reading.outcomes()
    decoded = [
        (path, pixels) for path, pixels in zip(paths, outcomes, strict=True) if not isinstance(pixels, ImageError)
    ]
    predictions: Iterator[Prediction] = iter(())
    if decoded:
        names, pixels = zip(*decoded, strict=True)
        predictions = iter(model.predict_pixels(pixels, names, top_k, abstain_below))
    for path, outcome in zip(paths, outcomes, strict=True):
        yield FailedPrediction(path, outcome.reason) if isinstance(outcome, ImageError) else next(predictions)
