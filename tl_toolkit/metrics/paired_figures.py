"""Figures of several models on the same images, and how they differ from those of the first model."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from tl_toolkit.metrics.base import ScoreMeter
from tl_toolkit.metrics.intervals import TAILS, resample
from tl_toolkit.metrics.paired_tests import accuracy_difference, mcnemar
from tl_toolkit.metrics.predictions import Predictions
from tl_toolkit.metrics.resampled import are_all_right, image_losses, statistics

RESAMPLES, FEWEST_RESAMPLES = 2000, 200

LABEL_COST = 2 * 10**8
"""Resampled scores that mean average precision may take: about ten seconds a model."""

MEANS_OF_CLASSES = ("balanced_accuracy", "macro_f1")

SHARES_OF_IMAGES = ("accuracy", "subset_accuracy")
"""Shares of the images that are right, for which there is a better test than the bootstrap."""


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95 % confidence interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Difference(Estimate):
    """A model's figure less that of the first model, on the same images.

    Attributes:
        p: How often a difference as large would come up by chance if there were none.
    """

    p: float


@dataclass(frozen=True)
class ModelFigures:
    """Figures of one of several models.

    Attributes:
        figures: By name.
        differences: From the first model, by name.
        only_first: Images that only the first model has right.
        only_this: Images that only this model has right.
    """

    figures: Mapping[str, Estimate]
    differences: Mapping[str, Difference]
    only_first: int
    only_this: int


def compare_figures(
    predictions: Sequence[Predictions], names: Sequence[str], thresholds: Sequence[torch.Tensor | None]
) -> list[ModelFigures]:
    """Compute figures of several models on the same images in the same order, and compare them with the first model's.

    Each model's own figures and intervals are those of `tl evaluate`. Shares of images that are right have McNemar's
    test and Tango's interval of the difference. Other differences have both by the bootstrap: images are drawn anew,
    the same ones for all models (Efron and Tibshirani 1993, "An introduction to the bootstrap"). It is seeded.

    Args:
        predictions: Of each model; the models may have their classes in another order.
        names: Which of `resampled.NAMES` to compute.
        thresholds: Of each model, as in `Metric`.
    """
    differences = bootstrap_differences(predictions, names, thresholds)
    right = [_right(each, own) for each, own in zip(predictions, thresholds, strict=True)]
    return [
        _of_model(_estimates(each, own, names), differences[model], right[0], right[model])
        for model, (each, own) in enumerate(zip(predictions, thresholds, strict=True))
    ]


def bootstrap_differences(
    predictions: Sequence[Predictions], names: Sequence[str], thresholds: Sequence[torch.Tensor | None]
) -> list[dict[str, Difference]]:
    """Return how the figures of each model differ from the first one's, all by the bootstrap; see `compare_figures`."""
    images, classes = len(predictions[0]), int((predictions[0].true.bincount() > 0).sum())
    of_each = [statistics(each, names, own) for each, own in zip(predictions, thresholds, strict=True)]

    def differences(weights: torch.Tensor) -> torch.Tensor:
        """Return the figures less those of the first model, (B, models, names)."""
        found = torch.stack([torch.stack([own[name](weights) for name in names], dim=1) for own in of_each], dim=1)
        return found - found[:, :1]

    value = differences(torch.ones(1, images, dtype=torch.float64))[0]
    drawn = resample(differences, images, _resamples(predictions[0], names))
    wider = torch.tensor([_widening(name, images, classes) for name in names], dtype=torch.float64)
    drawn = value + wider * (drawn - drawn.mean(dim=0))
    low, high = drawn.quantile(torch.tensor(TAILS, dtype=torch.float64), dim=0)
    ends = torch.stack([value, low, high, _p_values(drawn)], dim=-1).tolist()
    return [{name: Difference(*each) for name, each in zip(names, of_model, strict=True)} for of_model in ends]


def _of_model(
    estimates: Mapping[str, Estimate],
    differences: Mapping[str, Difference],
    right_of_first: torch.Tensor,
    right: torch.Tensor,
) -> ModelFigures:
    """Return the figures of a model, with the better tests of shares of images."""
    less = dict(differences)
    only_first, only_this = (int(only.sum()) for only in (right_of_first & ~right, right & ~right_of_first))
    for name in set(less) & set(SHARES_OF_IMAGES):
        interval = accuracy_difference(only_first, only_this, len(right))
        less[name] = Difference(less[name].value, *interval, mcnemar(only_first, only_this))
    return ModelFigures(estimates, less, only_first, only_this)


def _estimates(predictions: Predictions, thresholds: torch.Tensor | None, names: Sequence[str]) -> dict[str, Estimate]:
    """Return the figures of a model, and their intervals, as `tl evaluate` has them."""
    logits, targets, loss = predictions.logits, predictions.targets, predictions.loss
    meter = ScoreMeter(
        max(2, logits.shape[1]),
        logits.device,
        [name for name in names if name != "loss"],
        predictions.task,
        thresholds,
        loss=loss,
        image_losses=lambda logits, targets: image_losses(logits, targets, loss),
    )
    meter.update(image_losses(logits, targets, loss).mean(), logits, targets)
    scores = meter.compute()
    found = {**scores.values, "loss": scores.loss}
    unknown = (math.nan, math.nan)
    return {
        name: Estimate(value, *scores.intervals.get(name, unknown))
        for name in names
        if isinstance(value := found[name], float)
    }


def _right(predictions: Predictions, thresholds: torch.Tensor | None) -> torch.Tensor:
    """Return which images are right (N): in their likeliest class, or in all labels."""
    return are_all_right(predictions, thresholds) if predictions.task == "multi-label" else predictions.right


def _resamples(predictions: Predictions, names: Sequence[str]) -> int:
    """Return how often to draw images: less often where mean average precision would take long."""
    if "mean_average_precision" not in names:
        return RESAMPLES
    return max(FEWEST_RESAMPLES, min(RESAMPLES, LABEL_COST // predictions.logits.numel()))


def _widening(name: str, images: int, classes: int) -> float:
    """Return by how much a difference varies more than over resamples, which are drawn around their own mean.

    A mean over classes does so in each of them; see `class_counts.counts_variance`.
    """
    lost = classes if name in MEANS_OF_CLASSES else 1
    return math.sqrt(images / max(images - lost, images / 2))


def _p_values(differences: torch.Tensor) -> torch.Tensor:
    """Return the p values of differences, from those of the resamples (B, ...).

    A difference is as likely by chance as the resamples in which it has the other sign, of both sides together (Davison
    and Hinkley 1997, "Bootstrap methods and their application", chapter 4.4 for the added 1).
    """
    resamples = len(differences)
    rarer = torch.minimum((differences <= 0).sum(dim=0), (differences >= 0).sum(dim=0))
    return (2 * (rarer + 1).double() / (resamples + 1)).clamp(max=1)
