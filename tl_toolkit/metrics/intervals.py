"""95 % confidence intervals of figures of a split: what they would be on other images of the same kind."""

import math
from collections.abc import Callable

import torch

Z = 1.959963984540054
"""The normal distribution has 95 % between -Z and Z."""

SEED, RESAMPLES = 0, 1000

CHUNK = 2**22
"""Weights of images that are held at once."""

Interval = tuple[float, float]


def wilson(successes: float, images: float) -> Interval:
    """Return the interval of a share of images, such as the top-1 accuracy: (low, high).

    It is the score interval of Wilson (1927, "Probable inference, the law of succession, and statistical inference"),
    which Brown, Cai and DasGupta (2001, "Interval estimation for a binomial proportion") recommend: it stays within 0
    and 1, and says something for 30 images that are all right.

    Args:
        successes: Number of images that count.
        images: Number of images; with none, everything is possible.
    """
    if images <= 0:
        return 0.0, 1.0
    share, added = successes / images, Z * Z / images
    middle = (share + added / 2) / (1 + added)
    half = Z * math.sqrt(share * (1 - share) / images + added / (4 * images)) / (1 + added)
    low = 0.0 if successes <= 0 else max(0.0, middle - half)
    return low, 1.0 if successes >= images else min(1.0, middle + half)


def bootstrap(
    statistic: Callable[[torch.Tensor], torch.Tensor], images: int, resamples: int = RESAMPLES, seed: int = SEED
) -> torch.Tensor:
    """Return the 2.5th and 97.5th percentile of a statistic over resampled images (2, ...), float64.

    Images are drawn with replacement, as many as there are (Efron 1979, "Bootstrap methods: another look at the
    jackknife").

    Args:
        statistic: Takes how often each image is in each of some resamples (B, images), float64, and returns the
            statistic of each (B, ...).
        images: Number of images.
        resamples: How often to draw.
        seed: Of the random draws, the same for the same number of images.
    """
    generator = torch.Generator().manual_seed(seed)
    at_once, parts = max(1, CHUNK // max(1, images)), []
    for start in range(0, resamples, at_once):
        rows = min(at_once, resamples - start)
        drawn = torch.randint(images, (rows, images), generator=generator)
        weights = torch.zeros(rows, images, dtype=torch.float64)
        parts.append(statistic(weights.scatter_add_(1, drawn, torch.ones_like(weights))).double())
    return torch.cat(parts).quantile(torch.tensor([0.025, 0.975], dtype=torch.float64), dim=0)
