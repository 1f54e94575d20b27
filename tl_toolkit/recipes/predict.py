"""Prediction: the likeliest classes of images that nobody labelled, as a stream."""

import glob
import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch

from tl_toolkit.data.dataset import available_cores
from tl_toolkit.data.folder import files_below
from tl_toolkit.errors import ImageError
from tl_toolkit.files import is_folder
from tl_toolkit.recipes.loaded_model import BATCH, LoadedModel, Prediction

BATCHES_AHEAD = 2
"""Beside a GPU. On a CPU decoding and the network take turns with all cores: beside each other they took a tenth more
time (see tests/benchmarks/NOTES.md)."""


@dataclass(frozen=True, slots=True)
class Unpredicted:
    """An image that could not be read, and why."""

    path: str
    error: str


@dataclass(frozen=True, slots=True)
class Decoded:
    """An image as the model sees it: uint8 (C, H, W)."""

    path: str
    pixels: torch.Tensor


Result = Prediction | Unpredicted


def find_images(inputs: Iterable[str]) -> Iterator[str]:
    """Paths of images: files as they are, folders opened, patterns filled in.

    A path that does not exist is given all the same, so that it is reported and not lost.

    Args:
        inputs: Files, folders and globs.
    """
    for given in inputs:
        if is_folder(Path(given)):
            yield from files_below(Path(given))
        elif glob.has_magic(given) and not os.path.lexists(given):
            found = glob.glob(given, recursive=True)  # noqa: PTH207  # Path.glob takes no absolute patterns
            # With ** a folder and the files below it are found: each file is given once.
            files = (path for name in found for path in _files_of(Path(name)))
            yield from sorted(dict.fromkeys(files)) or [given]
        else:
            yield given


def _files_of(path: Path) -> list[str]:
    return files_below(path) if is_folder(path) else [str(path)]


def predict_stream(model: LoadedModel, paths: Iterable[str], top_k: int) -> Iterator[Result]:
    """Predicts in the order of the paths, decoding the next batches while a GPU works on this one.

    Args:
        model: From `load`.
        paths: Image files; never all held at once.
        top_k: How many classes to tell.

    Yields:
        A Prediction for each image, or an Unpredicted where it cannot be read.
    """
    batches_ahead = 0 if model.compute.device.type == "cpu" else BATCHES_AHEAD
    with ThreadPoolExecutor(available_cores()) as pool:
        ahead: deque[list[Future[Decoded | Unpredicted]]] = deque()
        for batch in _batches(paths):
            ahead.append([pool.submit(_pixels, model, path) for path in batch])
            if len(ahead) > batches_ahead:
                yield from _predict_batch(model, ahead.popleft(), top_k)
        while ahead:
            yield from _predict_batch(model, ahead.popleft(), top_k)


def _batches(paths: Iterable[str]) -> Iterator[list[str]]:
    iterator = iter(paths)
    while batch := list(islice(iterator, BATCH)):
        yield batch


def _pixels(model: LoadedModel, path: str) -> Decoded | Unpredicted:
    try:
        return Decoded(path, model.to_pixels(path))
    except ImageError as error:
        return Unpredicted(path, error.reason)


def _predict_batch(
    model: LoadedModel, futures: Sequence[Future[Decoded | Unpredicted]], top_k: int
) -> Iterator[Result]:
    results = [future.result() for future in futures]
    decoded = [result for result in results if isinstance(result, Decoded)]
    predictions: Iterator[Prediction] = iter(())
    if decoded:
        images = model.normalize(torch.stack([image.pixels for image in decoded]).to(model.compute.device))
        predictions = iter(model.rank(model.logits(images), [image.path for image in decoded], top_k))
    for result in results:
        yield result if isinstance(result, Unpredicted) else next(predictions)
