"""Which images of a split are worth a look: confident mistakes and uncertain images."""

import torch

from tl_toolkit.metrics.logits import EVEN
from tl_toolkit.metrics.predictions import Predictions


def confident_mistakes(
    predictions: Predictions, temperature: float = 1.0, count: int = 12, thresholds: torch.Tensor | None = None
) -> list[int]:
    """Return the images that the model is wrong about, the surest mistakes first.

    With one class an image, or with soft labels, an image is a mistake if its likeliest class is not the true one, and
    the model is as sure of it as the probability of that class says. With several labels an image, it is a mistake if
    it lacks one of its labels or is given another, and the model is as sure of it as the probability that one of these
    is furthest from the truth by. Images whose logits are not finite are in no list.

    Args:
        predictions: What the model gives for the images.
        temperature: What logits are divided by.
        count: How many images to return at most.
        thresholds: Probability from which an image is given each label (classes); None for 0.5. Of several labels only.

    Returns:
        Indices of the images; those with equal probabilities are in the order of the data.
    """
    probabilities = predictions.probabilities(temperature)
    if predictions.task == "multi-label":
        targets = (predictions.targets > 0).to(probabilities)
        given = predictions.probabilities() >= (EVEN if thresholds is None else thresholds)
        wrong = given != (targets > 0)
        sureness = ((probabilities - targets).abs() * wrong).amax(dim=1)
        mistaken = wrong.any(dim=1)
    else:
        sureness = probabilities.gather(1, predictions.predicted[:, None])[:, 0]
        mistaken = predictions.predicted != predictions.true
    return _first(-sureness, mistaken & _finite(predictions), count)


def least_certain(predictions: Predictions, temperature: float = 1.0, count: int = 12) -> list[int]:
    """Return the images that the model is least certain about, the most uncertain first.

    With one class an image, or with soft labels, it is the image whose two likeliest classes are closest in probability
    (margin sampling: Scheffer et al. 2001); with several labels, the image with the highest mean entropy of its labels.
    Images whose logits are not finite are in no list.

    Args:
        predictions: What the model gives for the images.
        temperature: What logits are divided by.
        count: How many images to return at most.

    Returns:
        Indices of the images; equally uncertain ones are in the order of the data.
    """
    probabilities = predictions.probabilities(temperature)
    if predictions.task == "multi-label":
        certainty = -torch.special.entr(torch.stack([probabilities, 1 - probabilities])).sum(dim=0).mean(dim=1)
    else:
        best = probabilities.topk(min(2, probabilities.shape[1]), dim=1).values
        certainty = best[:, 0] - (best[:, 1] if best.shape[1] > 1 else 0.0)
    return _first(certainty, _finite(predictions), count)


def _finite(predictions: Predictions) -> torch.Tensor:
    return predictions.logits.isfinite().all(dim=1)


def _first(keys: torch.Tensor, allowed: torch.Tensor, count: int) -> list[int]:
    """Return the allowed indices with the smallest keys, smallest first."""
    indices = allowed.nonzero()[:, 0]
    order = keys[indices].argsort(stable=True)
    chosen: list[int] = indices[order][: max(count, 0)].tolist()
    return chosen
