"""Temperature scaling: one number, fitted on val, that makes probabilities say how often they are right."""

import functools
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch.nn import functional

from tl_toolkit.config.choices import Loss

PRIOR_IMAGES = 5.0
"""The images of val compete with as many for which the probabilities are right as they are."""

LOWEST, HIGHEST = 0.05, 20.0
"""Temperatures are chosen from here to here."""

MIN_IMAGES = 10
"""Fewer images say too little of how often a probability is right."""

STEPS, CLOSE = 60, 1e-9
CHUNK = 2**22
"""Logits that are weighed at once, in float64."""


@dataclass(frozen=True)
class _Slope:
    """The first and the second derivative of the loss by the inverse temperature."""

    first: float
    second: float


def fit_temperature(logits: torch.Tensor, targets: torch.Tensor, loss: Loss) -> float:
    """Return the temperature with the lowest negative log-likelihood (Guo et al. 2017, arXiv:1706.04599).

    The likelihood is concave in the inverse temperature, so Newton's method between two bounds finds the maximum. Of
    few images, or if all are right, the maximum alone would be anywhere up to infinity: `PRIOR_IMAGES` more images,
    whose targets are the probabilities without a temperature, pull it towards 1.

    Args:
        logits: (N, classes), or (N, 1) where one logit stands for two classes.
        targets: Class indices (N), or shares of the classes (N, classes).
        loss: The training loss, which determines how logits become probabilities.

    Returns:
        A number from `LOWEST` to `HIGHEST`; 1 for no images, or logits that are not finite.
    """
    if not len(logits) or not bool(torch.isfinite(logits).all()):
        return 1.0
    low, high, inverse = 1 / HIGHEST, 1 / LOWEST, 1.0
    for _ in range(STEPS):
        slope = _slope(logits, targets, loss, inverse)
        low, high = (inverse, high) if slope.first < 0 else (low, inverse)
        step = inverse - slope.first / slope.second if slope.second > 0 else -1.0
        following = step if low < step < high else (low * high) ** 0.5
        if abs(following - inverse) <= CLOSE * inverse:
            break
        inverse = following
    return 1 / inverse


def _slope(logits: torch.Tensor, targets: torch.Tensor, loss: Loss, inverse: float) -> _Slope:
    """Return the derivatives of the images' summed loss, and of that of `PRIOR_IMAGES`, at an inverse temperature."""
    independent = loss == "bce" and logits.shape[1] > 1
    shares_of = torch.sigmoid if independent else functools.partial(torch.softmax, dim=1)
    first = second = torch.zeros((), dtype=torch.float64, device=logits.device)
    prior = PRIOR_IMAGES / len(logits)
    for values, aims in _parts(logits, targets):
        shares = shares_of(values * inverse)
        means = shares * values
        first = first + ((1 + prior) * means - (aims + prior * shares_of(values)) * values).sum()
        taken = shares.square() * values.square() if independent else means.sum(dim=1, keepdim=True).square()
        second = second + (1 + prior) * ((means * values).sum() - taken.sum())
    return _Slope(float(first), float(second))


def _parts(logits: torch.Tensor, targets: torch.Tensor) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield logits and the probabilities that they should give, float64 (n, classes) each, some images at a time."""
    rows = max(1, CHUNK // max(2, logits.shape[1]))
    for values, aims in zip(torch.split(logits, rows), torch.split(targets, rows), strict=True):
        values = values.double()
        if values.shape[1] == 1:  # Beside a logit of 0 for the first class, softmax gives the same as a sigmoid.
            values = torch.cat([torch.zeros_like(values), values], dim=1)
        yield values, (functional.one_hot(aims, values.shape[1]) if aims.ndim == 1 else aims).double()
