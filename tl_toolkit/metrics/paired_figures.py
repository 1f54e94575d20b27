"""Figures of several models on the same images, and how they differ from those of the first model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from tl_toolkit.metrics.intervals import bootstrap, wilson
from tl_toolkit.metrics.paired_tests import accuracy_difference, mcnemar
from tl_toolkit.metrics.predictions import Predictions
from tl_toolkit.metrics.resampled import are_all_right, statistics

RESAMPLES, FEWEST_RESAMPLES = 2000, 200

LABEL_COST = 5 * 10**8
"""Resampled scores that mean average precision may take: about ten seconds a model."""

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

    Shares of images have Wilson's interval, McNemar's test and Tango's interval of the difference. Others have
    intervals, and p, by the bootstrap: images are drawn anew, the same ones for all models (Efron and Tibshirani 1993,
    "An introduction to the bootstrap", chapters 13 and 16). It is seeded.

    Args:
        predictions: Of each model; the models may have their classes in another order.
        names: Which of `resampled.NAMES` to compute.
        thresholds: Of each model, as in `Metric`.
    """
    images = len(predictions[0])
    of_each = [statistics(each, names, own) for each, own in zip(predictions, thresholds, strict=True)]
    drawn: list[torch.Tensor] = []

    def figures(weights: torch.Tensor) -> torch.Tensor:
        """Return the figures, and their differences from the first model's, (B, 2, models, names)."""
        found = torch.stack([torch.stack([own[name](weights) for name in names], dim=1) for own in of_each], dim=1)
        return torch.stack([found, found - found[:, :1]], dim=1)

    def kept(weights: torch.Tensor) -> torch.Tensor:
        drawn.append(figures(weights))
        return drawn[-1]

    low, high = bootstrap(kept, images, _resamples(predictions[0], names))
    ends = torch.stack([figures(torch.ones(1, images, dtype=torch.float64))[0], low, high], dim=-1).tolist()
    p_values = _p_values(torch.cat(drawn)[:, 1]).tolist()
    right = [_right(each, own) for each, own in zip(predictions, thresholds, strict=True)]
    return [
        _of_model(names, ends[0][model], ends[1][model], p_values[model], right[0], right[model])
        for model in range(len(predictions))
    ]


def _of_model(
    names: Sequence[str],
    figures: Sequence[Sequence[float]],
    differences: Sequence[Sequence[float]],
    p_values: Sequence[float],
    right_of_first: torch.Tensor,
    right: torch.Tensor,
) -> ModelFigures:
    """Return the figures of a model, with the better tests of shares of images."""
    estimates = {name: Estimate(*ends) for name, ends in zip(names, figures, strict=True)}
    less = {
        name: Difference(value, low, high, p)
        for name, (value, low, high), p in zip(names, differences, p_values, strict=True)
    }
    only_first, only_this = (int(only.sum()) for only in (right_of_first & ~right, right & ~right_of_first))
    for name in set(names) & set(SHARES_OF_IMAGES):
        images = len(right)
        estimates[name] = Estimate(estimates[name].value, *wilson(int(right.sum()), images))
        interval = accuracy_difference(only_first, only_this, images)
        less[name] = Difference(less[name].value, *interval, mcnemar(only_first, only_this))
    return ModelFigures(estimates, less, only_first, only_this)


def _right(predictions: Predictions, thresholds: torch.Tensor | None) -> torch.Tensor:
    """Return which images are right (N): in their likeliest class, or in all labels."""
    return are_all_right(predictions, thresholds) if predictions.task == "multi-label" else predictions.right


def _resamples(predictions: Predictions, names: Sequence[str]) -> int:
    """Return how often to draw images: less often where mean average precision would take long."""
    if "mean_average_precision" not in names:
        return RESAMPLES
    return max(FEWEST_RESAMPLES, min(RESAMPLES, LABEL_COST // predictions.logits.numel()))


def _p_values(differences: torch.Tensor) -> torch.Tensor:
    """Return the p values of differences, from those of the resamples (B, ...).

    A difference is as likely by chance as the resamples in which it has the other sign, of both sides together (Davison
    and Hinkley 1997, "Bootstrap methods and their application", chapter 4.4 for the added 1).
    """
    resamples = len(differences)
    rarer = torch.minimum((differences <= 0).sum(dim=0), (differences >= 0).sum(dim=0))
    return (2 * (rarer + 1).double() / (resamples + 1)).clamp(max=1)
