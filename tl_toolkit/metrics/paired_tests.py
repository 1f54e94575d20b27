"""Whether two models differ on the same images, or only by the chance of which images these are."""

import math
from collections.abc import Callable, Sequence

from tl_toolkit.metrics.intervals import Interval, Z

LEVEL = 0.05
"""A difference counts as one if chance alone would show as large a one in fewer comparisons than this."""

POWER, Z_OF_POWER = 0.8, 0.8416212335729143
"""How often a difference that can be shown would be shown, and the quantile of the normal distribution."""

STEPS = 100
"""Halvings of a range: more than a float64 has bits."""


def mcnemar(only_first: int, only_second: int) -> float:
    """Return the mid-p value of McNemar's test: whether two models are right equally often.

    Only images that one of them has right and the other wrong say anything of it; if the models are equally good, each
    of these falls to either with a chance of one half (McNemar 1947). The mid-p value counts half of the chance of
    what was seen: it finds more differences than the exact test, which is too cautious with few images, and unlike the
    asymptotic one hardly ever errs more often than `LEVEL` (Fagerland, Lydersen and Laake 2013, "The McNemar test for
    binary matched-pairs data").

    Args:
        only_first: Images that only the first model has right.
        only_second: Images that only the second one has right.
    """
    images, fewer = only_first + only_second, min(only_first, only_second)
    log_of_all = math.lgamma(images + 1) - images * math.log(2)
    chances = [math.exp(log_of_all - math.lgamma(k + 1) - math.lgamma(images - k + 1)) for k in range(fewer + 1)]
    return min(1.0, 2 * math.fsum(chances) - chances[-1])


def accuracy_difference(only_first: int, only_second: int, images: int) -> Interval:
    """Return the 95 % interval of the second model's accuracy less the first one's.

    It is the score interval of Tango (1998, "Equivalence test and confidence interval for the difference in proportions
    for the paired-sample design"): the differences that a test like McNemar's does not rule out.

    Args:
        only_first: Images that only the first model has right.
        only_second: Images that only the second one has right.
        images: All images, at least 1.
    """
    found = (only_second - only_first) / images

    def statistic(difference: float) -> float:
        spread = difference * (1 - difference)
        linear = (2 * images - only_second + only_first) * difference - only_second - only_first
        root = math.sqrt(max(0.0, linear * linear + 8 * images * only_first * spread))
        variance = images * ((root - linear) / (2 * images) + spread)
        excess = images * (found - difference)
        return excess / math.sqrt(variance) if variance > 0 else math.copysign(math.inf, excess)

    low = _crossing(lambda difference: statistic(difference) > Z, -1.0, found) if found > -1 else -1.0
    high = _crossing(lambda difference: statistic(difference) > -Z, found, 1.0) if found < 1 else 1.0
    return low, high


def detectable_difference(only_one: int, images: int) -> float | None:
    """Return the difference in accuracy that McNemar's test would show on so many images, `POWER` of the time.

    It follows Connor (1987, "Sample size for testing differences in proportions for the paired-sample design"): the
    more images only one of the models has right, the more of a difference is chance.

    Args:
        only_one: Images that only one of the models has right.
        images: All images.

    Returns:
        None if they could not show any difference.
    """

    def is_shown(difference: float) -> bool:
        discordant = max(only_one / images, difference)  # As many at least as make up the difference.
        needed = Z * math.sqrt(discordant) + Z_OF_POWER * math.sqrt(discordant - difference * difference)
        return difference * math.sqrt(images) >= needed

    return _crossing(lambda difference: not is_shown(difference), 0.0, 1.0) if images and is_shown(1.0) else None


def holm(p_values: Sequence[float]) -> list[float]:
    """Return the p values of several tests such that one in twenty such groups has a difference by chance alone.

    The method is that of Holm (1979, "A simple sequentially rejective multiple test procedure").
    """
    adjusted, largest = [0.0] * len(p_values), 0.0
    for place, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - place) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def _crossing(before: Callable[[float], bool], low: float, high: float) -> float:
    """Return where a condition that holds at the low end of a range, and not at the high one, ends."""
    for _ in range(STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if before(middle) else (low, middle)
    return (low + high) / 2
