"""Classes and probabilities from logits as arrays: `logits.py` without torch, for programs that run ONNX files."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tl_toolkit.config.choices import Loss

Floats = NDArray[np.float32]

EVEN = 0.5
"""Threshold of a label before one was chosen for it."""


def probabilities(logits: Floats, loss: Loss) -> Floats:
    """Return probabilities (N, classes), as `logits.probabilities` does."""
    exact = logits.astype(np.float64)
    if logits.shape[1] == 1:
        positive = _sigmoid(exact).astype(np.float32)
        return np.concatenate([1 - positive, positive], axis=1)
    if loss == "bce":
        return _sigmoid(exact).astype(np.float32)
    powers = np.exp(exact - exact.max(axis=1, keepdims=True))
    shares: Floats = (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)
    return shares


def ranked_classes(scores: Floats, top_k: int) -> NDArray[np.int64]:
    """Return the `top_k` likeliest classes (N, top_k), best first, or all where there are fewer.

    Args:
        scores: Logits or probabilities (N, classes), or (N, 1) where one logit stands for two classes.
        top_k: How many.
    """
    if scores.shape[1] == 1:
        best = (scores[:, 0] >= 0).astype(np.int64)
        return np.stack([best, 1 - best], axis=1)[:, :top_k]
    return np.argsort(-scores, axis=1, kind="stable")[:, :top_k]


def predicted_labels(shares: Floats, thresholds: Sequence[float] = ()) -> NDArray[np.bool_]:
    """Return which labels images are given (N, classes), by their probabilities; without thresholds, from 0.5."""
    return shares >= (np.array(thresholds, np.float32) if thresholds else np.float32(EVEN))


def _sigmoid(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.exp(-np.logaddexp(0, -values))
