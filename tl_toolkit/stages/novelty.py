"""What a run's model file says of images that are unlike those of training."""

import dataclasses
import math
from collections import Counter

import torch

from tl_toolkit.data.samples import Samples
from tl_toolkit.data.targets import are_rows, class_indices
from tl_toolkit.errors import TrainingError
from tl_toolkit.events import DecisionEvent
from tl_toolkit.features.extractor import FeatureExtractor
from tl_toolkit.inference.classifier import ImageClassifier
from tl_toolkit.inference.novelty import FALSE_ALARMS, SMALLEST_EXACT, fit_novelty
from tl_toolkit.metrics.logits import true_classes
from tl_toolkit.metrics.predictions import Predictions
from tl_toolkit.stages.context import RunContext
from tl_toolkit.stages.scoring import predict_split
from tl_toolkit.text import plural
from tl_toolkit.training.calibration import MIN_IMAGES

MAX_IMAGES = 2_000
"""Training images whose features are taken: they may have to be computed for this alone."""

IMAGES_OF_A_CLASS = 4
"""Fewer say little of the mean of a class, and of how much a class varies."""

MAX_STORED = 2**26
"""Values of stored features that are read: 256 MB."""


def learn_novelty(
    context: RunContext,
    model: ImageClassifier,
    features: FeatureExtractor | None,
    of_val: Predictions,
    affordable: float = math.inf,
) -> None:
    """Choose on val from which distance to the training images on an image is unknown, and tell the decision.

    The statistics are of the images of train alone, before a refit of the head on val too: val must be as new to them
    as the images to come are.

    Args:
        context: What the stages of the run share.
        model: The run's model; its metadata gets the statistics and the threshold.
        features: See `score_split`.
        of_val: What the model gives for val.
        affordable: Number of images for which there is time.
    """
    chosen, reason = _choose_images(context, features is not None, of_val, affordable)
    reason = _why_not(model, of_val) or reason
    of_train = None
    if not reason:
        try:
            of_train = predict_split(model, "train", chosen, features, context.images.workers)
        except TrainingError as error:  # The run is finished without it.
            reason = str(error)
    if of_train is None or of_train.features is None or of_val.features is None:
        context.callback(DecisionEvent("unknown", "not flagged", reason))
        return
    known = of_train.features.isfinite().all(dim=1)
    layer, classes = model.head_modules[0], true_classes(of_train.targets)
    note = fit_novelty(layer, of_train.features[known], classes[known], of_val.features, of_val.logits)
    model.metadata = dataclasses.replace(model.metadata, novelty=note)
    value = f"features of {note.train_images:,} training images"
    aim = f"{FALSE_ALARMS:.0%}".replace("%", " %")
    if note.val_images < SMALLEST_EXACT:
        aim = f"one in {note.val_images + 1}"
    why = f"flags {note.flagged} of {note.val_images:,} images of val, for false alarms in {aim} of known images"
    context.callback(DecisionEvent("unknown", value, why))


def _why_not(model: ImageClassifier, of_val: Predictions) -> str:
    """Return why unknown images cannot be told; empty if they can."""
    if model.task == "multi-label":
        return "an image without labels is not an unknown one"
    if not model.head_modules or of_val.features is None:
        return "it is not known what arrives at the head"
    if len(of_val) < MIN_IMAGES:
        return f"val has {plural(len(of_val), 'image')}, and a threshold needs {MIN_IMAGES}"
    if not bool(of_val.features.isfinite().all()):
        return "a feature of val is not a finite number"
    return ""


def _choose_images(context: RunContext, stored: bool, of_val: Predictions, affordable: float) -> tuple[Samples, str]:
    """Return training images, of each class as many, and why they are too few; empty if they are not."""
    samples, classes = context.splits.train, context.classes
    limit: float = MAX_IMAGES
    if stored and context.config.feature_cache and of_val.features is not None:
        limit = max(limit, min(IMAGES_OF_A_CLASS * classes, MAX_STORED // of_val.features.shape[1]))
    room = min(limit, affordable)
    if len(samples) <= room:
        return samples, ""
    each = int(room // classes)
    if each < IMAGES_OF_A_CLASS:
        why = "there is no time left" if affordable < limit else f"{limit:,.0f} images are the most"
        return samples, f"it needs {IMAGES_OF_A_CLASS} training images of each class, and {why}"
    targets = samples.targets.argmax(axis=1) if are_rows(samples.targets) else class_indices(samples.targets)
    order = torch.randperm(len(samples), generator=torch.Generator().manual_seed(context.config.seed)).tolist()
    taken: Counter[int] = Counter()
    chosen = []
    for index in order:
        if taken[target := int(targets[index])] < each:
            taken[target] += 1
            chosen.append(index)
    return samples.subset(sorted(chosen)), ""
