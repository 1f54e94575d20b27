"""How well the probability of each class tells its images from the rest: ROC AUC and average precision."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

CHUNK = 2**21
"""Probabilities that are ranked at once."""

ROUNDING = 12
"""Bits of a probability that do not count, of 53: equal ones may differ in the last, by the order of a sum."""

LARGEST = 2**62


@dataclass(frozen=True)
class OneVsRest:
    """Figures of each class, and how far the mean over the classes depends on each image.

    Attributes:
        roc_auc: Area under the ROC curve (classes), float64; NaN for a class that has no images, or all.
        average_precision: The same of the average precision (classes).
        roc_auc_variance: Of the mean of the areas over the classes that have one.
        average_precision_variance: Of the mean of the average precision.
    """

    roc_auc: torch.Tensor
    average_precision: torch.Tensor
    roc_auc_variance: float
    average_precision_variance: float


def one_vs_rest(
    probabilities_of: Callable[[torch.Tensor], torch.Tensor], true: torch.Tensor, classes: int
) -> OneVsRest:
    """Rank the images by the probability of each class in turn, equal ones together, as scikit-learn does.

    A variance is the sum over the images of the square of their influence, the derivative of the mean by the weight of
    the image (Jaeckel 1972, "The infinitesimal jackknife"). Of an area under the ROC curve this is the variance of
    DeLong, DeLong and Clarke-Pearson (1988, "Comparing the areas under two or more correlated receiver operating
    characteristic curves"), with the covariances between the classes.

    The images of a class are sorted, and all others are placed among them: this takes N x classes x log(images of the
    class) steps, a few columns of the probabilities at a time.

    Args:
        probabilities_of: Takes the indices of some classes (K) and returns the probability of each (N, K), float64 on
            the CPU.
        true: Class of each image (N).
        classes: Number of classes.
    """
    images = torch.bincount(true, minlength=classes)
    order = true.argsort(stable=True)
    starts = images.cumsum(0) - images
    ranked = ((images > 0) & (images < len(true))).nonzero()[:, 0]
    at_once = max(1, CHUNK // max(1, len(true)))
    auc = torch.full((classes,), float("nan"), dtype=torch.float64)
    precision = auc.clone()
    influence = torch.zeros(2, len(true), dtype=torch.float64)
    for columns in torch.split(ranked, at_once) if len(ranked) else ():
        scores = _rounded(probabilities_of(columns).T.contiguous())
        of_class = torch.arange(int(images[columns].max())).expand(len(columns), -1)
        there = of_class < images[columns, None]
        own_images = order[(starts[columns, None] + of_class).clamp(max=len(true) - 1)]
        own = scores.gather(1, own_images).masked_fill(~there, LARGEST).sort(dim=1).values
        found = _rank(scores, own, there, true == columns[:, None])
        auc[columns], precision[columns] = found[0], found[1]
        influence[0] += found[2]
        influence[1] += found[3]
    variances = (influence / max(1, len(ranked))).square().sum(dim=1).tolist()
    return OneVsRest(auc, precision, *variances)


def _rounded(probabilities: torch.Tensor) -> torch.Tensor:
    """Return integers in the order of numbers from 0 to 1, float64, the same for numbers that are nearly equal."""
    rounded: torch.Tensor = (probabilities.view(torch.int64) + 2 ** (ROUNDING - 1)) >> ROUNDING
    return rounded


def _rank(
    scores: torch.Tensor, own: torch.Tensor, there: torch.Tensor, positive: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Place all images among those of the class.

    Args:
        scores: Of some classes (K, N), integers.
        own: The scores of each class's own images, ascending (K, P), filled up with `LARGEST`.
        there: Which of `own` are no filling (K, P).
        positive: Which images are of each class (K, N).

    Returns:
        Area under the ROC curve and average precision (K), and the influence of each image on their sums (N).
    """
    count = there.sum(dim=1, keepdim=True).double()
    rest = scores.shape[1] - count
    below = torch.searchsorted(own, scores)  # Of the class's images, those with a lower score.
    up_to = torch.searchsorted(own, scores, right=True)  # Those with a lower or the same score.
    # Of the other images, those with a lower score than each of the class's images, and with a lower or the same one.
    lower, not_higher = (_cumulated(places, ~positive, own.shape[1]) for places in (up_to, below))
    won = ((lower + not_higher) / 2 / rest).masked_fill_(~there, 0)
    auc = won.sum(dim=1, keepdim=True) / count
    rank = torch.searchsorted(own, own)
    hits = (count - rank).masked_fill_(~there, 1)
    place = hits + (rest - lower)
    precision = (hits / place).masked_fill_(~there, 0)
    mean = precision.sum(dim=1, keepdim=True) / count
    # What an image changes in the precision at each of the class's images that are not above it.
    gained, lost = (
        _from_zero(each.masked_fill(~there, 0).cumsum(dim=1)) for each in ((1 - precision) / place, precision / place)
    )

    highest = (up_to - 1).clamp(min=0)
    of_auc = torch.where(
        positive, (won.gather(1, highest) - auc) / count, (1 - (below + up_to) / 2 / count - auc) / rest
    )
    of_precision = torch.where(
        positive,
        (precision.gather(1, highest) - mean + gained.gather(1, up_to)) / count,
        -lost.gather(1, up_to) / count,
    )
    return auc[:, 0], mean[:, 0], of_auc.sum(dim=0), of_precision.sum(dim=0)


def _cumulated(places: torch.Tensor, which: torch.Tensor, size: int) -> torch.Tensor:
    """Return how many of some images are at each place or before it (K, size)."""
    counts = torch.zeros(len(places), size + 1, dtype=torch.float64)
    return counts.scatter_add_(1, places, which.double()).cumsum(dim=1)[:, :size]


def _from_zero(sums: torch.Tensor) -> torch.Tensor:
    """Return cumulated sums with a 0 before them."""
    return torch.nn.functional.pad(sums, (1, 0))


def mean_of_known(values: torch.Tensor) -> float | None:
    """Return the mean of the values that are not NaN; None if there are none."""
    known = values[~values.isnan()]
    return float(known.mean()) if len(known) else None


def as_tuple(values: torch.Tensor) -> tuple[float | None, ...]:
    """Return the value of each class, None for NaN."""
    return tuple(None if math.isnan(value) else value for value in values.tolist())
