"""Evaluation: the loss and the metrics of a model on labelled images."""

from dataclasses import dataclass
from typing import Any

from tl_toolkit.data.quality.readability import ExcludedImage, check_splits
from tl_toolkit.data.seen_images import choose_eval_split, report_seen_images, split_title
from tl_toolkit.data.sources.base import Source, SourceOptions
from tl_toolkit.data.workers import report_worker_deaths
from tl_toolkit.errors import DataError
from tl_toolkit.events import Callback, DecisionEvent, WarningEvent, log_event
from tl_toolkit.inference.classifier import ImageClassifier
from tl_toolkit.inference.scoring import check_task, open_labelled, remap_targets, score
from tl_toolkit.metrics.base import Scores
from tl_toolkit.metrics.predictions import PredictionKeeper, Predictions
from tl_toolkit.text import join_names
from tl_toolkit.training.threads import torch_threads


@dataclass(frozen=True)
class Evaluation:
    """A model's results on one split.

    Attributes:
        data: Name of the source.
        split: Name of the split.
        scores: Loss and metrics.
        metrics: Loss and metrics by name, each class's own by its name.
        bad_images: Images that cannot be read; the scores leave them out.
        of_run: Whether the run made the split, as the data have none.
        left_out: Number of images of such data outside the split.
        seen: Number of images that the model learned from; None where unknown.
        predictions: What the scores were computed from, image by image.
        class_names: In the order of the logits.
    """

    data: str
    split: str
    scores: Scores
    metrics: dict[str, Any]
    bad_images: list[ExcludedImage]
    of_run: bool
    left_out: int
    seen: int | None
    predictions: Predictions
    class_names: tuple[str, ...]

    @property
    def class_accuracy(self) -> dict[str, float]:
        """Accuracy of each class that has images, by name; empty if an image may have several labels or soft ones."""
        return self.metrics.get("class_accuracy", {})  # type: ignore[no-any-return]  # as the metric gives it

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
    """Evaluate a model on a split, matching classes by name.

    Args:
        model: A model from `load`.
        source: A Source, or anything `open_source` takes.
        split: By default test, else val, else what the model did not learn from; see `choose_eval_split`.
        workers: Number of processes that decode images.
        threads: Number of cores; by default OMP_NUM_THREADS, else all that this process may use.
        callback: Receives decisions, warnings and progress.

    Raises:
        DataError: The data has classes that the model does not know, or no readable image.
        UsageError: The data are files without class folders.
        UnknownNameError: There is no such split.
        TrainingError: The network gives no finite numbers for some images.
    """
    source = source if isinstance(source, Source) else open_labelled(source, SourceOptions(task=model.task))
    for note in source.notes:
        callback(WarningEvent(note))
    check_task(model, source)
    if model.task == "multi-label" and (unlabelled := sorted(set(model.class_names) - set(source.class_names))):
        missing = f"{source.name} has no label {join_names(unlabelled)}"
        callback(WarningEvent(f"{missing}, which the model knows: images that are given one count as wrong."))
    chosen = choose_eval_split(model.metadata, source, split, callback)
    name, samples = chosen.split, remap_targets(chosen.samples, source.class_names, model.class_names)
    with torch_threads(threads):
        checked = check_splits({name: samples}, callback, model.input_spec.min_decode_size)[name]
        if not checked.results:
            raise DataError(f"{name} of {source.name} has no readable image.")
        seen = report_seen_images(model.metadata, checked.readable, callback)
        if model.task == "multi-label" and name == "val" and model.metadata.thresholds:
            callback(
                DecisionEvent("thresholds", "chosen on val", "its F1 is a little high, its mAP needs no thresholds")
            )
        if name == "val" and model.metadata.temperature != 1:
            callback(DecisionEvent("calibrate", "chosen on val", "its calibration error is a little low"))
        names = checked.readable.names()
        keeper = PredictionKeeper(names)
        scores = score(model, checked.readable, workers, keeper=keeper)
    metrics = scores.to_dict(model.class_names)
    predictions = keeper.predictions(names, (), model.metadata.loss, model.task)
    return Evaluation(
        source.name,
        name,
        scores,
        metrics,
        checked.bad,
        chosen.of_run,
        chosen.left_out,
        seen,
        predictions,
        model.class_names,
    )
