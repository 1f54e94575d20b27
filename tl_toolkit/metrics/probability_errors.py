"""How far probabilities are from what happens: the calibration error and the Brier score."""

import torch

from tl_toolkit.metrics.class_scores import ClassMetric, ClassScores
from tl_toolkit.metrics.intervals import SEED, TAILS, Interval, mean_interval

BINS = 15

STEPS, RESAMPLES = 61, 400
"""How many multiples of the differences that are seen are tried, and how often each is drawn."""

FAR, FARTHEST = 6, 20
"""Standard errors from what is seen up to which multiples are tried, and the largest one."""


class CalibrationError(ClassMetric):
    """Expected calibration error: how far the probability of the likeliest class is from the share that is right.

    The images are put in 15 bins of the same width by this probability; the figure is the mean difference between a
    bin's mean probability and its share of right images, weighted by images (Guo, Pleiss, Sun and Weinberger 2017, "On
    calibration of modern neural networks"). It is above 0 by chance even where probabilities are exact, and the more so
    the fewer the images: the interval takes that into account, and most of it may lie below the figure.
    """

    label = "calibration error"

    def derive(self, source: ClassScores) -> float:
        """Return the error."""
        _, confident, hits = bins(source)
        return float((hits - confident).abs().sum()) / source.images

    def derive_interval(self, source: ClassScores) -> Interval:
        """Return the interval; see `calibration_interval`."""
        return calibration_interval(*bins(source))


class BrierScore(ClassMetric):
    """Mean squared error of the probabilities, summed over the classes, and halved if there are two.

    It is 0 if all are certain and right (Brier 1950, "Verification of forecasts expressed in terms of probability").
    As in scikit-learn's `brier_score_loss`, that of two classes is the squared error of one of them.
    """

    label = "Brier score"
    format = "number"

    def derive(self, source: ClassScores) -> float:
        """Return the mean over the images."""
        return float(source.squared_errors.mean()) * self._scale

    def derive_interval(self, source: ClassScores) -> Interval:
        """Return the interval of the mean, which an image of equal probabilities is added to."""
        return mean_interval(source.squared_errors * self._scale, (1 - 1 / self.classes) * self._scale)

    @property
    def _scale(self) -> float:
        return 0.5 if self.classes == 2 else 1.0


def bins(source: ClassScores) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return images, sum of the probabilities of the likeliest class, and right images of each bin (bins), float64."""
    confidence, right = source.confidence, (source.predicted == source.scores[1]).double()
    places = (confidence * BINS).ceil().long().clamp(1, BINS) - 1  # As Guo's: a bin has its upper end.
    images, confident, hits = (
        torch.zeros(BINS, dtype=torch.float64).index_add_(0, places, each)
        for each in (torch.ones_like(confidence), confidence, right)
    )
    return images, confident, hits


def calibration_interval(images: torch.Tensor, confident: torch.Tensor, hits: torch.Tensor) -> Interval:
    """Return the interval of the expected calibration error (low, high).

    The error is biased upwards: of images that are right exactly as often as the model says, some bins have more and
    some less by chance. Percentiles of a bootstrap add this bias once more instead of removing it. So this tries models
    whose bins are off by a multiple of what is seen, draws the right images of each many times, and keeps those of
    which what is seen is not among the 2.5 % lowest or highest: a test that is inverted, as in Carpenter (1999, "Test
    inversion bootstrap confidence intervals"). Where what is seen is little even for exact probabilities, the upper end
    is what is seen.

    Args:
        images: Of each bin (bins).
        confident: Sum of the probabilities of its images.
        hits: Its right images.
    """
    there = images > 0
    images, confident, hits = images[there], confident[there], hits[there]
    promised = confident / images
    seen = (hits + 0.5) / (images + 1)  # Nothing is sure, as that a model is never wrong after 30 right images.
    scale = float((images * (seen - promised).abs()).sum())
    far = FAR * float((images * seen * (1 - seen)).sum().sqrt()) / max(scale, 1e-9)
    steps = torch.linspace(max(0.0, 1 - far), min(FARTHEST, 1 + far), STEPS, dtype=torch.float64)[:, None]
    shares = (promised + steps * (seen - promised)).clamp(0, 1)
    errors = ((shares - promised).abs() * images).sum(dim=1) / images.sum()
    generator = torch.Generator().manual_seed(SEED)
    drawn = torch.binomial(
        images.expand(RESAMPLES, len(steps), -1).contiguous(), shares.expand(RESAMPLES, -1, -1).contiguous(), generator
    )
    found = (drawn - confident).abs().sum(dim=2)
    figure, rounding = float((hits - confident).abs().sum()), 1e-9
    as_high, as_low = (each.double().mean(dim=0) for each in (found >= figure - rounding, found <= figure + rounding))
    chance = torch.minimum(as_high, as_low)
    kept = errors[chance >= min(TAILS[0], float(chance.max()))]
    return float(kept.min()), max(float(kept.max()), figure / float(images.sum()))
