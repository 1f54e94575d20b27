"""How far the probability of the likeliest class can be believed, and what it costs to answer only where it is high.

All is computed from the predictions of a split whose images have one class.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from tl_toolkit.metrics.predictions import Predictions

BINS = 15
"""As in Guo et al. 2017."""

CURVE_POINTS = 100

COVERAGES = (1.0, 0.95, 0.9, 0.8)


@dataclass(frozen=True)
class ReliabilityBin:
    """Images whose probability of the likeliest class lies in a range: how sure the model is, and how often right.

    Attributes:
        low: Lower end of the range.
        high: Upper end, which belongs to it.
        images: Number of images.
        confidence: Mean probability of the likeliest class.
        accuracy: Share of the images that are right.
    """

    low: float
    high: float
    images: int
    confidence: float
    accuracy: float


@dataclass(frozen=True)
class CoverageRow:
    """What comes of answering only where the probability is high enough.

    Attributes:
        threshold: Lowest probability that is answered.
        images: Number of images in all.
        answered: Number of those with at least this probability.
        right: Number of these that are right.
    """

    threshold: float
    images: int
    answered: int
    right: int

    @property
    def coverage(self) -> float:
        """Share of the images that are answered."""
        return self.answered / self.images

    @property
    def accuracy(self) -> float:
        """Share of the answered images that are right."""
        return self.right / self.answered


def reliability_bins(predictions: Predictions, temperature: float = 1.0) -> tuple[ReliabilityBin, ...]:
    """Return the bins of a reliability diagram, of equal width, without those that have no image.

    Args:
        predictions: Of images with one class.
        temperature: What logits are divided by before they become probabilities.
    """
    sure, right = _sure_and_right(predictions, temperature)
    known = sure.isfinite()
    sure, right = sure[known], right[known]
    place = (sure * BINS).ceil().long().clamp(1, BINS) - 1
    images = torch.bincount(place, minlength=BINS)
    confidence, correct = (torch.bincount(place, weights=each, minlength=BINS) for each in (sure, right))
    rows = zip(images.tolist(), confidence.tolist(), correct.tolist(), strict=True)
    return tuple(
        ReliabilityBin(index / BINS, (index + 1) / BINS, count, total / count, hits / count)
        for index, (count, total, hits) in enumerate(rows)
        if count
    )


def calibration_error(predictions: Predictions, temperature: float = 1.0) -> float:
    """Return the expected calibration error: by how much confidence and accuracy of a bin differ, on average.

    Args:
        predictions: See `reliability_bins`.
        temperature: See `reliability_bins`.

    Returns:
        A number from 0 to 1; nan where no probability is known.
    """
    bins = reliability_bins(predictions, temperature)
    images = sum(each.images for each in bins)
    return sum(each.images * abs(each.confidence - each.accuracy) for each in bins) / images if images else float("nan")


def coverage_curve(
    predictions: Predictions, temperature: float = 1.0, points: int = CURVE_POINTS
) -> list[tuple[float, float, float]]:
    """Return the accuracy-coverage curve (El-Yaniv and Wiener 2010, JMLR 11), from few answers to all.

    Args:
        predictions: See `reliability_bins`.
        temperature: See `reliability_bins`.
        points: Largest number of points.

    Returns:
        The lowest probability that is answered, the share of the images with at least this one, and how many of these
        are right, of each point.
    """
    shares = [(point + 1) / points for point in range(points)]
    rows = coverage_rows(predictions, temperature, shares)
    return [(row.threshold, row.coverage, row.accuracy) for row in rows]


def coverage_rows(
    predictions: Predictions, temperature: float = 1.0, coverages: Sequence[float] = COVERAGES
) -> list[CoverageRow]:
    """Return what comes of answering at least these shares of the images, those with the highest probability.

    Images with equal probability are answered together, so rows that would be alike are left out.

    Args:
        predictions: See `reliability_bins`.
        temperature: See `reliability_bins`.
        coverages: Shares of the images, above 0.
    """
    sure, right = _sure_and_right(predictions, temperature)
    sure = sure.nan_to_num(0.0)  # What is not known is answered last.
    ranked, order = sure.sort(descending=True)
    correct = right[order].cumsum(dim=0)
    rows = {}
    for coverage in coverages if len(ranked) else ():
        at_least = min(max(1, round(coverage * len(ranked))), len(ranked))
        threshold = float(ranked[at_least - 1])
        answered = int((ranked >= threshold).sum())
        rows[answered] = CoverageRow(threshold, len(ranked), answered, int(correct[answered - 1]))
    return list(rows.values())


def _sure_and_right(predictions: Predictions, temperature: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the probability of the likeliest class and whether it is right (N), float64."""
    shares = predictions.probabilities(temperature)
    sure = shares.gather(1, predictions.predicted[:, None])[:, 0] if len(shares) else shares.new_zeros(0)
    return sure.double(), predictions.right.double()
