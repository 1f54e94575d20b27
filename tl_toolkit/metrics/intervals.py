"""95 % confidence intervals of figures of a split: what they would be on other images of the same kind.

How often they hold the truth was measured: tests/benchmarks/intervals.py, docs/evaluation.md.
"""

import math
from collections.abc import Callable

import torch

from tl_toolkit.metrics.wilson import Interval as Interval
from tl_toolkit.metrics.wilson import Z as Z
from tl_toolkit.metrics.wilson import wilson as wilson

TAILS = 0.025, 0.975

SEED, RESAMPLES, MAX_DRAWS = 0, 1000, 10**7
"""Fewer resamples are drawn where all of them together would have more than `MAX_DRAWS` images."""

CHUNK = 2**21
"""Weights of images that are held at once."""

STEADY = 0.3
"""Least standard error of a resample, as a share of that of the images: few different values may come close to none."""


def share_interval(value: float, variance: float, most: float) -> Interval:
    """Return the interval of a figure between 0 and 1 that is no plain share of images, such as macro F1.

    It is `wilson` of the number of images of which a share would have the same variance, as for samples that are not
    simple (Korn and Graubard 1998, "Confidence intervals for proportions with small expected number of positive
    counts").

    Args:
        value: The figure.
        variance: Its variance.
        most: The most images to count on, which matters where all of them are right and the variance is 0.
    """
    value = min(1.0, max(0.0, value))
    spread = value * (1 - value)
    images = min(most, spread / variance) if variance > 0 and spread > 0 else most
    return wilson(value * images, images)


def for_few_images(variance: float, images: int, classes: int) -> float:
    """Return a variance that was estimated within classes, as it is expected for other images.

    A class of 3 images differs from their own mean less than from the truth, as in the variance of a sample, which is
    divided by n - 1: so it grows by the images over those that are left when each class has lost one, at most twice.

    Args:
        variance: Of these images.
        images: Number of images.
        classes: Number of classes that have images.
    """
    return variance * images / max(images - classes, images / 2)


def mean_interval(values: torch.Tensor, guessed: float, seed: int = SEED) -> Interval:
    """Return the interval of the mean of a value of each image that is 0 or more, such as the loss.

    It is that of the bootstrap of t (Efron 1979, "Bootstrap methods: another look at the jackknife"; Hall 1988,
    "Theoretical comparison of bootstrap confidence intervals"), which follows the skewness of losses: most are near 0,
    few are large. Among 30 images perhaps none is, though one in a hundred would be. So one more image is added, of
    which the model knows nothing, as the interval of Wilson in effect adds some to a share.

    Args:
        values: (N).
        guessed: The value of an image that is given equal probabilities.
        seed: Of the random draws.
    """
    added = torch.cat([values.double().cpu(), torch.tensor([guessed], dtype=torch.float64)])
    images, mean = len(added), added.mean()
    error = added.std(correction=0) / math.sqrt(images - 1)

    def t(weights: torch.Tensor) -> torch.Tensor:
        first, second = ((weights @ power) / images for power in (added, added.square()))
        errors = ((second - first.square()).clamp(min=0) / (images - 1)).sqrt()
        return (first - mean) / errors.clamp(min=STEADY * float(error))

    if not error > 0:
        return float(mean), float(mean)
    low, high = resample(t, images, seed=seed).quantile(torch.tensor(TAILS, dtype=torch.float64)).tolist()
    return max(0.0, float(mean - high * error)), float(mean - low * error)


def resample(
    statistic: Callable[[torch.Tensor], torch.Tensor], images: int, resamples: int = RESAMPLES, seed: int = SEED
) -> torch.Tensor:
    """Return a statistic of images drawn with replacement, as many as there are, again and again (B, ...), float64.

    Args:
        statistic: Takes how often each image is in each of some resamples (b, images), float64, and returns the
            statistic of each (b, ...).
        images: Number of images.
        resamples: How often to draw, with many images less often.
        seed: Of the random draws, which are the same for the same number of images.
    """
    generator = torch.Generator().manual_seed(seed)
    count = min(resamples, max(100, MAX_DRAWS // images))
    at_once, parts = max(1, CHUNK // images), []
    for start in range(0, count, at_once):
        rows = min(at_once, count - start)
        drawn = torch.randint(images, (rows, images), generator=generator)
        weights = torch.zeros(rows, images, dtype=torch.float64)
        parts.append(statistic(weights.scatter_add_(1, drawn, torch.ones_like(weights))).double())
    return torch.cat(parts)


def bootstrap(
    statistic: Callable[[torch.Tensor], torch.Tensor], images: int, resamples: int = RESAMPLES, seed: int = SEED
) -> torch.Tensor:
    """Return the 2.5th and 97.5th percentile of a statistic over resampled images (2, ...); see `resample`.

    Percentiles serve figures of which images are as likely above as below, such as the difference of two accuracies.
    Those of a figure near 0 or 1 are too narrow: with 30 images that are all right they leave nothing open.
    """
    quantiles = torch.tensor(TAILS, dtype=torch.float64)
    return resample(statistic, images, resamples, seed).quantile(quantiles, dim=0)
