"""Evaluation: a model's loss and accuracy on labelled images."""

import dataclasses
import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tl_toolkit.config import DIGITS
from tl_toolkit.data.checking import BadImage, check_splits
from tl_toolkit.data.dataset import Samples, eval_images
from tl_toolkit.data.loaders import automatic_workers, eval_loader
from tl_toolkit.data.sources import Source, open_source
from tl_toolkit.data.workers import naming_dead_workers
from tl_toolkit.download import Progress
from tl_toolkit.errors import DataError, UsageError, listing
from tl_toolkit.files import is_file, user_path
from tl_toolkit.reading import in_time
from tl_toolkit.recipes.events import Counted, Listener, Warned, log_event
from tl_toolkit.recipes.loaded_model import LoadedModel
from tl_toolkit.recipes.unseen import choose_images, split_title, tell_seen
from tl_toolkit.training.loop import evaluate_batches
from tl_toolkit.training.losses import Criterion
from tl_toolkit.training.metrics import Scores
from tl_toolkit.training.threads import computing_with

SHOWN = 10
BATCH = 64
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
    bad_images: list[BadImage]
    of_run: bool = False
    left_out: int = 0
    seen: int | None = None

    @property
    def title(self) -> str:
        """The split in words."""
        return split_title(self.split, self.of_run)


@naming_dead_workers()
def evaluate(
    model: LoadedModel,
    source: Source | Any,
    split: str | None = None,
    *,
    workers: int | None = None,
    threads: int | None = None,
    listener: Listener = log_event,
) -> Evaluation:
    """Judges a model on a split; classes are matched by name.

    Args:
        model: From `load`.
        source: A Source, or anything `open_source` takes.
        split: By default test, else val, else what the model did not learn from; see `choose_images`.
        workers: Processes that decode images.
        threads: Cores to take; by default OMP_NUM_THREADS, else all that this process may use.
        listener: Told how it goes.

    Raises:
        DataError: The data has classes that the model does not know, or no readable image.
        UsageError: The data are files without class folders.
        UnknownNameError: There is no such split.
    """
    source = source if isinstance(source, Source) else open_labelled(source)
    for note in source.notes:
        listener(Warned(note))
    chosen = choose_images(model.card, source, split, listener)
    name, samples = chosen.split, by_name(chosen.samples, source.class_names, model.class_names)
    with computing_with(threads):
        checked = check_splits(
            {name: samples}, lambda done, total: listener(Counted("check", done, total)), model.input_spec.enough
        )[name]
        if not checked.facts:
            raise DataError(f"{name} of {source.name} has no readable image.")
        seen = tell_seen(model.card, checked.readable, listener)
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


def score(model: LoadedModel, samples: Samples, workers: int | None) -> Scores:
    """Judges a model on samples whose targets are the model's own."""
    dataset = eval_images(samples, model.input_spec)
    loader = eval_loader(dataset, BATCH, automatic_workers(len(dataset)) if workers is None else workers)

    def prepare(images: Any) -> Any:
        return model.normalize(images).contiguous(memory_format=model.compute.memory_format)

    with model.compute.inference():
        return evaluate_batches(
            model.module, loader, prepare, len(model.class_names), model.compute.device, Criterion(model.card.loss)
        )


def class_accuracy(scores: Scores, class_names: Sequence[str]) -> dict[str, float]:
    """Accuracy of each class that has images, by name."""
    pairs = zip(class_names, scores.class_accuracy, strict=True)
    return {name: accuracy for name, accuracy in pairs if accuracy is not None}


def by_name(samples: Samples, data_classes: Sequence[str], model_classes: Sequence[str]) -> Samples:
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
            f"{listing(unknown, SHOWN)}. It knows {listing(model_classes, SHOWN)}.{advice}"
        )
    return dataclasses.replace(samples, targets=[position[data_classes[target]] for target in samples.targets])


def _advice(unknown: Sequence[str], used: Sequence[str], model_classes: Sequence[str]) -> str:
    """What to do about class folders that are called almost like the model's classes, or are no classes."""
    by_case = {name.casefold(): name for name in model_classes}
    if meant := {name: by_case[name.casefold()] for name in unknown if name.casefold() in by_case}:
        pairs = listing([f"{name} to {known}" for name, known in meant.items()], SHOWN)
        return f" {'Some names differ' if len(meant) > 1 else 'A name differs'} in case only: rename {pairs}."
    if len(unknown) == len(used):
        return (
            " If these folders are no classes, their images have no truth to be judged by: name them with tl predict."
        )
    return ""


def open_labelled(
    spec: Any, data_root: Path = Path("datasets"), download: bool = False, progress: Progress | None = None
) -> Source:
    """Opens images to judge a model by, as `open_source` does.

    Raises:
        UsageError: They are files without class folders.
    """
    if isinstance(spec, str | Path) and str(spec) != DIGITS:
        place = user_path(spec)
        if is_file(place):
            raise UsageError(
                f"{spec} is a file, and nothing says what is in it. {HOW_TO_PREDICT}{shlex.quote(str(spec))}"
            )
        if files := in_time(_unlabelled, place):
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
