"""How unlike the training images an image is: what `novelty.py` computes, without torch, for ONNX files."""

import functools
import math
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from tl_toolkit.errors import ModelFileError
from tl_toolkit.model_file import NoveltyNote

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]

SMALLEST_LENGTH = 1e-12
"""Shorter features are zeros, as in torch's `normalize`."""


@dataclass(frozen=True)
class Statistics:
    """What a model file holds of the features of training images; see `NoveltyNote`."""

    means: Floats
    centre: Floats
    basis: Floats | None
    directions: Floats
    variances: Floats

    @classmethod
    def of(cls, note: NoveltyNote) -> Self:
        """Unpack what a model file holds.

        Raises:
            ModelFileError: It is damaged.
        """
        try:
            means, centre, directions = (part.unpack_array() for part in (note.means, note.centre, note.directions))
            basis = note.basis.unpack_array() if note.basis else None
            variances = np.array(note.variances, np.float32)
            if centre.ndim != 1:
                raise ValueError("its centre is no vector")
            dims = means.shape[1:] if basis is None else basis.shape[1:]
            joined = basis is None or means.shape[1:] == basis.shape[:1]
            if means.ndim != 2 or not joined or dims != centre.shape or directions.shape != (len(variances), *dims):
                raise ValueError("its tensors do not fit each other")
            if not (len(means) and note.rest > 0 and (variances > 0).all()):
                raise ValueError("its variances are not positive")
        except ValueError as error:
            raise ModelFileError(f"The model file's statistics of the training images are damaged: {error}.") from error
        return cls(means, centre, basis, directions, variances)


@dataclass(frozen=True)
class ArrayNovelty:
    """`novelty.NoveltyDetector` and its `ClassDistances`, of arrays.

    Attributes:
        means: Mean of the features of each class (classes, D).
        directions: Orthonormal rows (R, D), in which the features of a class vary most.
        variances: The variance in each of these directions (R).
        rest: The variance in each of all others.
        weights: What the distance and the highest logit are multiplied by, and what is added to their sum.
        threshold: Images with a higher novelty are unknown.
    """

    means: Floats
    directions: Floats
    variances: Floats
    rest: float
    weights: tuple[float, float, float]
    threshold: float

    @classmethod
    def of(cls, note: NoveltyNote) -> Self:
        """Unpack what a model file holds.

        Raises:
            ModelFileError: It is damaged.
        """
        known = Statistics.of(note)
        means = (known.means if known.basis is None else known.means @ known.basis) + known.centre
        return cls(means, known.directions, known.variances, note.rest, note.weights, note.threshold)

    def novelty(self, features: Floats, logits: Floats) -> Floats:
        """Return how unlike the training images are (N).

        Args:
            features: What arrives at the head (N, D).
            logits: (N, classes), or (N, 1) where one logit stands for two classes.

        Raises:
            ModelFileError: The statistics are of other features.
        """
        if features.shape[1:] != self.means.shape[1:]:
            raise ModelFileError(
                f"The model file's statistics are of features with {self.means.shape[1]} values, but it gives "
                f"{tuple(features.shape)}."
            )
        distance, logit, offset = self.weights
        highest = np.abs(logits[:, 0]) / 2 if logits.shape[1] == 1 else logits.max(axis=1)
        novelty = distance * self._nearest(features) + logit * highest + offset
        return np.nan_to_num(novelty.astype(np.float32), nan=math.inf)

    def _nearest(self, features: Floats) -> Doubles:
        """Return the distance to the nearest mean (N) of features (N, D)."""
        exact = features.astype(np.float64)  # In float32, few digits of a small distance would be left.
        lengths = np.linalg.norm(exact, axis=1, keepdims=True)
        rows, means = self._whiten(exact / np.maximum(lengths, SMALLEST_LENGTH)), self._whitened_means
        squares = (rows**2).sum(axis=1, keepdims=True) + (means**2).sum(axis=1) - 2 * rows @ means.T
        nearest: Doubles = np.sqrt(np.maximum(squares.min(axis=1), 0))
        return nearest

    @functools.cached_property
    def _whitened_means(self) -> Doubles:
        return self._whiten(self.means.astype(np.float64))

    def _whiten(self, features: Doubles) -> Doubles:
        """Return features (N, D) in coordinates in which a class varies by 1 in every direction."""
        plain = self.rest**-0.5
        along = features @ self.directions.T
        stretched = along * (self.variances.astype(np.float64) ** -0.5 - plain)
        whitened: Doubles = plain * features + stretched @ self.directions
        return whitened
