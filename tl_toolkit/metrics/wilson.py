"""The 95 % confidence interval of a share of images, which needs no torch."""

import math

Interval = tuple[float, float]

Z = 1.959963984540054
"""The normal distribution has 95 % between -Z and Z."""


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
