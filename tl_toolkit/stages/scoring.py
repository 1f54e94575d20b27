"""Scoring the model of a run on its splits."""

import dataclasses

from tl_toolkit.data.fingerprints import content_fingerprints
from tl_toolkit.data.samples import Samples
from tl_toolkit.events import Callback, DecisionEvent
from tl_toolkit.features.extractor import FeatureExtractor
from tl_toolkit.inference import scoring
from tl_toolkit.inference.classifier import ImageClassifier
from tl_toolkit.metrics.base import Scores, Thresholds
from tl_toolkit.metrics.predictions import PredictionKeeper, Predictions
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
    scores = _score(model, split, samples, features, workers, thresholds, keeper)
    contents = content_fingerprints(samples)
    return scores, keeper.predictions(names, contents, model.metadata.loss, model.task)


def _score(
    model: ImageClassifier,
    split: str,
    samples: Samples,
    features: FeatureExtractor | None,
    workers: int,
    thresholds: Thresholds,
    keeper: PredictionKeeper,
) -> Scores:
    if features is None:
        return scoring.score(model, samples, workers, thresholds, keeper)
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
            task=model.task,
            thresholds=model.thresholds if thresholds is None else thresholds,
            temperature=model.metadata.temperature,
            keeper=keeper,
            head=model.head,
            intervals=True,
        )


def score_val(
    model: ImageClassifier, samples: Samples, features: FeatureExtractor | None, workers: int, callback: Callback
) -> tuple[Scores, Predictions]:
    """Score the saved model on val, after choosing the thresholds of several labels an image there.

    Args:
        model: The run's model; its metadata gets the thresholds.
        samples: The images of val.
        features: See `score_split`.
        workers: See `score_split`.
        callback: Called with the decision.

    Returns:
        The scores, and what they were computed from.
    """
    if model.task != "multi-label":
        return score_split(model, "val", samples, features, workers)
    scores, predictions = score_split(model, "val", samples, features, workers, choose_thresholds)
    chosen = scores.values["threshold"]
    assert isinstance(chosen, tuple)
    thresholds = tuple(value for value in chosen if value is not None)
    model.metadata = dataclasses.replace(model.metadata, thresholds=thresholds)
    value = f"{min(thresholds):.0%} to {max(thresholds):.0%}"
    callback(DecisionEvent("thresholds", value, "the best F1 of each label on val, few images count less"))
    return scores, predictions
