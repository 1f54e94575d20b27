"""Evaluation: a model's loss and accuracy on labelled images."""

import os
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tl_toolkit.config.choices import DIGITS
from tl_toolkit.data.quality.readability import ExcludedImage, check_splits
from tl_toolkit.data.seen_images import choose_eval_split, report_seen_images, split_title
from tl_toolkit.data.sources.base import Source, open_source
from tl_toolkit.data.workers import report_worker_deaths
from tl_toolkit.errors import DataError, UsageError
from tl_toolkit.events import Callback, WarningEvent, log_event
from tl_toolkit.inference.classifier import ImageClassifier
from tl_toolkit.inference.scoring import class_accuracy, remap_targets, score
from tl_toolkit.io.download import ProgressCallback
from tl_toolkit.io.files import expand_path, is_file
from tl_toolkit.io.reader_threads import call_with_stall_guard
from tl_toolkit.metrics.classification import Scores
from tl_toolkit.training.threads import torch_threads

HOW_TO_PREDICT = "To name the likeliest classes: tl predict "


@dataclass(frozen=True)
class Evaluation:
    """A model's results on one split.

    Attributes:
        data: Name of the source.
        split: Name of the split.
        scores: Loss and accuracies.
        class_accuracy: Accuracy of each class that has images, by name.
        bad_images: Images that could not be read and were not judged.
        of_run: Whether the run made the split, of data that have none.
        left_out: Images of such data that are not in it.
        seen: How many of the images the model learned from; None where that is not known.
    """

    data: str
    split: str
    scores: Scores
    class_accuracy: dict[str, float]
    bad_images: list[ExcludedImage]
    of_run: bool = False
    left_out: int = 0
    seen: int | None = None

    @property
    def title(self) -> str:
        """The split in words."""
        return split_title(self.split, self.of_run)


@report_worker_deaths()
def evaluate(
    model: ImageClassifier,
    source: Source | Any,
    split: str | None = None,
    *,
    workers: int | None = None,
    threads: int | None = None,
    callback: Callback = log_event,
) -> Evaluation:
    """Judges a model on a split; classes are matched by name.

    Args:
        model: From `load`.
        source: A Source, or anything `open_source` takes.
        split: By default test, else val, else what the model did not learn from; see `choose_eval_split`.
        workers: Processes that decode images.
        threads: Cores to take; by default OMP_NUM_THREADS, else all that this process may use.
        callback: Told how it goes.

    Raises:
        DataError: The data has classes that the model does not know, or no readable image.
        UsageError: The data are files without class folders.
        UnknownNameError: There is no such split.
    """
    source = source if isinstance(source, Source) else open_labelled(source)
    for note in source.notes:
        callback(WarningEvent(note))
    chosen = choose_eval_split(model.metadata, source, split, callback)
    name, samples = chosen.split, remap_targets(chosen.samples, source.class_names, model.class_names)
    with torch_threads(threads):
        checked = check_splits({name: samples}, callback, model.input_spec.min_decode_size)[name]
        if not checked.results:
            raise DataError(f"{name} of {source.name} has no readable image.")
        seen = report_seen_images(model.metadata, checked.readable, callback)
        scores = score(model, checked.readable, workers)
    return Evaluation(
        source.name,
        name,
        scores,
        class_accuracy(scores, model.class_names),
        checked.bad,
        chosen.of_run,
        chosen.left_out,
        seen,
    )


def open_labelled(
    spec: Any, data_root: Path = Path("datasets"), download: bool = False, progress: ProgressCallback | None = None
) -> Source:
    """Opens images to judge a model by, as `open_source` does.

    Raises:
        UsageError: They are files without class folders.
    """
    if isinstance(spec, str | Path) and str(spec) != DIGITS:
        place = expand_path(spec)
        if is_file(place):
            raise UsageError(
                f"{spec} is a file, and nothing says what is in it. {HOW_TO_PREDICT}{shlex.quote(str(spec))}"
            )
        if files := call_with_stall_guard(_unlabelled, place):
            count = f"{files:,} file{'' if files == 1 else 's'}"
            raise UsageError(
                f"{spec} has {count} and no class folders, so nothing says what is in them. "
                f"{HOW_TO_PREDICT}{shlex.quote(str(spec))}"
            )
    return open_source(spec, data_root, download, progress)


def _unlabelled(folder: Path) -> int:
    """How many files a folder has; 0 where it has folders too, or is none."""
    try:
        with os.scandir(folder) as entries:
            are_files = [entry.is_file() for entry in entries if not entry.name.startswith(".")]
    except (OSError, ValueError):
        return 0
    return len(are_files) if all(are_files) else 0
