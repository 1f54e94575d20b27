"""Scoring the model of a run on its splits."""

from tl_toolkit.data.samples import Samples
from tl_toolkit.features.extractor import FeatureExtractor
from tl_toolkit.inference import scoring
from tl_toolkit.inference.classifier import ImageClassifier
from tl_toolkit.metrics.base import Scores
from tl_toolkit.training.loop import evaluate_batches
from tl_toolkit.training.losses import Criterion


def score_split(
    model: ImageClassifier, split: str, samples: Samples, features: FeatureExtractor | None, workers: int
) -> Scores:
    """Score the saved model on a split without computing again what is frozen in it.

    Args:
        model: The run's model.
        split: "val" or "test".
        samples: The images of the split.
        features: What the frozen prefix of the last stage gives; None to run the whole network on images.
        workers: Worker processes that decode.
    """
    if features is None:
        return scoring.score(model, samples, workers)
    prefix = features.prefix  # Of the same network; features that are not stored run through it too.
    batches = features.eval_batches(split, samples)
    with prefix.bypassed(), model.compute.inference():
        return evaluate_batches(
            model.module,
            batches,
            prefix.feed,
            len(model.class_names),
            model.compute.device,
            Criterion(model.metadata.loss),
        )
