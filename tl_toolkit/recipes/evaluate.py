"""Evaluation: a model's loss and accuracy on labelled images."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tl_toolkit.data.checking import BadImage, check_splits
from tl_toolkit.data.dataset import Samples, eval_images
from tl_toolkit.data.loaders import automatic_workers, eval_loader
from tl_toolkit.data.sources import Source, open_source
from tl_toolkit.data.workers import naming_dead_workers
from tl_toolkit.errors import DataError, listing
from tl_toolkit.recipes.events import Chosen, Counted, Listener, Warned, log_event
from tl_toolkit.recipes.loaded_model import LoadedModel
from tl_toolkit.training.loop import evaluate_batches
from tl_toolkit.training.losses import Criterion
from tl_toolkit.training.metrics import Scores

SHOWN = 10
BATCH = 64


@dataclass(frozen=True)
class Evaluation:
    """A model's results on one split.

    Attributes:
        data: Name of the source.
        split: Name of the split.
        scores: Loss and accuracies.
        class_accuracy: Accuracy of each class that has images, by name.
        bad_images: Images that could not be read and were not judged.
    """

    data: str
    split: str
    scores: Scores
    class_accuracy: dict[str, float]
    bad_images: list[BadImage]


@naming_dead_workers()
def evaluate(
    model: LoadedModel,
    source: Source | Any,
    split: str | None = None,
    *,
    workers: int | None = None,
    listener: Listener = log_event,
) -> Evaluation:
    """Judges a model on a split; classes are matched by name.

    Args:
        model: From `load`.
        source: A Source, or anything `open_source` takes.
        split: By default test, else val, else all that there is.
        workers: Processes that decode images.
        listener: Told how it goes.

    Raises:
        DataError: The data has classes that the model does not know, or no readable image.
        UnknownNameError: There is no such split.
    """
    source = source if isinstance(source, Source) else open_source(source)
    name = split or choose_split(source, listener)
    splits = {name: source.split(name)}
    checked = check_splits(
        splits, lambda done, total: listener(Counted("check", done, total)), model.input_spec.enough
    )[name]
    if not checked.facts:
        raise DataError(f"{name} of {source.name} has no readable image.")
    scores = score(model, by_name(checked.readable, source.class_names, model.class_names), workers)
    return Evaluation(source.name, name, scores, class_accuracy(scores, model.class_names), checked.bad)


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


def choose_split(source: Source, listener: Listener) -> str:
    """Test where there is one, else val, else all."""
    for name in ("test", "val"):
        if name in source.splits:
            listener(Chosen("split", name, f"{source.name} has {', '.join(source.splits)}"))
            return name
    listener(
        Warned(f"{source.name} has no test or val split: all of it is judged, with any image the model learned from.")
    )
    return "train"


def by_name(samples: Samples, data_classes: Sequence[str], model_classes: Sequence[str]) -> Samples:
    """The samples with the model's indices as targets.

    Raises:
        DataError: Images of a class that the model does not know.
    """
    position = {name: index for index, name in enumerate(model_classes)}
    used = [data_classes[target] for target in dict.fromkeys(samples.targets)]
    unknown = sorted(name for name in used if name not in position)
    if unknown:
        raise DataError(
            f"The model does not know {len(unknown)} of the data's {len(used)} classes: "
            f"{listing(unknown, SHOWN)}. It knows {listing(model_classes, SHOWN)}."
        )
    return Samples(samples.images, [position[data_classes[target]] for target in samples.targets])
