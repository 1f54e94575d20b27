"""Scoring the model of a run on its splits."""

import dataclasses
from collections.abc import Iterable

import torch

from tl_toolkit.data.fingerprints import content_fingerprints
from tl_toolkit.data.samples import Samples
from tl_toolkit.events import Callback, DecisionEvent
from tl_toolkit.features.extractor import FeatureExtractor
from tl_toolkit.inference import scoring
from tl_toolkit.inference.classifier import ImageClassifier
from tl_toolkit.metrics.base import METRICS, ScoreMeter, Scores, Thresholds
from tl_toolkit.metrics.calibration import calibration_error
from tl_toolkit.metrics.predictions import PredictionKeeper, Predictions
from tl_toolkit.text import plural
from tl_toolkit.training.calibration import MIN_IMAGES, fit_temperature
from tl_toolkit.training.evaluation import evaluate_batches
from tl_toolkit.training.losses import Criterion
from tl_toolkit.training.thresholds import choose_thresholds


def score_split(
    model: ImageClassifier,
    split: str,
    samples: Samples,
    features: FeatureExtractor | None,
    workers: int,
    thresholds: Thresholds = None,
) -> tuple[Scores, Predictions]:
    """Score the saved model on a split without computing again what is frozen in it.

    Args:
        model: The run's model.
        split: "val" or "test".
        samples: The images of the split.
        features: What the frozen prefix of the last stage gives; None to run the whole network on images.
        workers: Worker processes that decode.
        thresholds: In place of the model's own; see `Metric`.

    Returns:
        The scores, and what they were computed from.
    """
    names = samples.names()
    keeper = PredictionKeeper(names)
    scores = _score(model, split, samples, features, workers, keeper, thresholds)
    contents = content_fingerprints(samples)
    return scores, keeper.predictions(names, contents, model.metadata.loss, model.task)


def predict_split(
    model: ImageClassifier, split: str, samples: Samples, features: FeatureExtractor | None, workers: int
) -> Predictions:
    """Return what the model gives for images of a split, without names, and without computing what is frozen again.

    Args:
        model: The run's model.
        split: "train", "val" or "test".
        samples: Images of the split, not necessarily all.
        features: See `score_split`.
        workers: See `score_split`.
    """
    keeper = PredictionKeeper()
    _score(model, split, samples, features, workers, keeper, metrics=())
    return keeper.predictions((), (), model.metadata.loss, model.task)


def _score(
    model: ImageClassifier,
    split: str,
    samples: Samples,
    features: FeatureExtractor | None,
    workers: int,
    keeper: PredictionKeeper,
    thresholds: Thresholds = None,
    metrics: Iterable[str] = METRICS,
) -> Scores:
    if features is None:
        return scoring.score(model, samples, workers, thresholds, keeper, metrics)
    prefix = features.prefix  # Of the same network; features that are not stored run through it too.
    batches = features.eval_batches(split, samples, deal=True)
    with prefix.bypassed(), model.compute.inference():
        return evaluate_batches(
            model.module,
            batches,
            prefix.feed,
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


def score_val(
    model: ImageClassifier, samples: Samples, features: FeatureExtractor | None, workers: int, callback: Callback
) -> tuple[Scores, Predictions]:
    """Score the saved model on val, and choose there how it answers: a temperature, or thresholds of several labels.

    Args:
        model: The run's model; its metadata gets the temperature or the thresholds.
        samples: The images of val.
        features: See `score_split`.
        workers: See `score_split`.
        callback: Called with the decision.

    Returns:
        The scores, and what they were computed from.
    """
    if model.task != "multi-label":
        return _score_calibrated(model, samples, features, workers, callback)
    scores, predictions = score_split(model, "val", samples, features, workers, choose_thresholds)
    chosen = scores.values["threshold"]
    assert isinstance(chosen, tuple)
    thresholds = tuple(value for value in chosen if value is not None)
    model.metadata = dataclasses.replace(model.metadata, thresholds=thresholds)
    value = f"{min(thresholds):.0%} to {max(thresholds):.0%}"
    callback(DecisionEvent("thresholds", value, "the best F1 of each label on val, few images count less"))
    return scores, predictions


def _score_calibrated(
    model: ImageClassifier, samples: Samples, features: FeatureExtractor | None, workers: int, callback: Callback
) -> tuple[Scores, Predictions]:
    """Give the model the temperature that val has, and return the scores of val with it, from one pass."""
    names, criterion = samples.names(), Criterion(model.metadata.loss)
    keeper = PredictionKeeper(names)
    passed = _score(model, "val", samples, features, workers, keeper, metrics=())
    predictions = keeper.predictions(names, content_fingerprints(samples), criterion.loss, model.task)
    temperature = choose_temperature(predictions, callback)
    model.metadata = dataclasses.replace(model.metadata, temperature=temperature)
    meter = ScoreMeter(
        len(model.class_names),
        torch.device("cpu"),
        task=model.task,
        temperature=temperature,
        loss=criterion.loss,
        image_losses=criterion.of_each,
    )
    meter.update(torch.tensor(passed.loss), predictions.logits, predictions.targets)
    return dataclasses.replace(meter.compute(), loss=passed.loss), predictions


def choose_temperature(predictions: Predictions, callback: Callback) -> float:
    """Return the temperature that val has, 1 where it says too little, and tell the decision.

    After a refit the temperature is that of the head before it, since val then belongs to the training images: on
    Caltech-101 it was within 0.03 of what the test images of the refitted head have (tests/benchmarks/NOTES.md).

    Args:
        predictions: What the model gives for val.
        callback: Called with the decision.
    """
    if len(predictions) < MIN_IMAGES:
        reason = f"val has {plural(len(predictions), 'image')}, and a temperature needs {MIN_IMAGES}"
        callback(DecisionEvent("calibrate", "none", reason))
        return 1.0
    temperature = fit_temperature(predictions.logits, predictions.targets, predictions.loss)
    images = f"{len(predictions):,} images of val"
    why = f"the likeliest on {images}"
    if predictions.task == "multi-class":
        before, after = (calibration_error(predictions, each) for each in (1.0, temperature))
        why = f"on {images}: calibration error from {100 * before:.1f} to {100 * after:.1f} %"
    callback(DecisionEvent("calibrate", f"temperature {temperature:.2f}", why))
    return temperature
