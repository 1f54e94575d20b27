"""What a model gives for a split of labelled images, beside the truth."""

from tl_toolkit.data.fingerprints import content_fingerprints
from tl_toolkit.data.quality.readability import check_splits
from tl_toolkit.data.seen_images import EvalSplit, choose_eval_split
from tl_toolkit.data.sources.base import Source
from tl_toolkit.errors import DataError
from tl_toolkit.events import Callback
from tl_toolkit.inference.classifier import ImageClassifier
from tl_toolkit.inference.scoring import check_task, remap_targets, score
from tl_toolkit.metrics.predictions import PredictionKeeper, Predictions


def predict_split(
    model: ImageClassifier, source: Source, split: str | None, workers: int | None, callback: Callback
) -> tuple[EvalSplit, Predictions]:
    """Compute what a model gives for the readable images of a split.

    Args:
        model: The model.
        source: The data, with the model's classes by name.
        split: The split; None for what the model did not learn from, see `choose_eval_split`.
        workers: Worker processes that decode; None for the default.
        callback: Receives decisions, warnings and progress.

    Raises:
        DataError: The data have other classes, or no readable image.
        UnknownNameError: There is no such split.
    """
    check_task(model, source)
    chosen = choose_eval_split(model.metadata, source, split, callback)
    samples = remap_targets(chosen.samples, source.class_names, model.class_names)
    readable = check_splits({chosen.split: samples}, callback, model.input_spec.min_decode_size)[chosen.split].readable
    if not len(readable):
        raise DataError(f"{chosen.split} of {source.name} has no readable image.")
    keeper = PredictionKeeper()
    score(model, readable, workers, keeper=keeper)
    contents = content_fingerprints(readable)
    return chosen, keeper.predictions(readable.names(), contents, model.metadata.loss, model.task)
