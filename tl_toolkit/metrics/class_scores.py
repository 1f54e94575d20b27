"""The scores of a split with one class an image, from which most metrics of classes are computed."""

import functools
from collections.abc import Iterator

import torch

from tl_toolkit.metrics.base import Derived, Metric
from tl_toolkit.metrics.intervals import resample
from tl_toolkit.metrics.logits import predicted_classes, probabilities
from tl_toolkit.metrics.one_vs_rest import OneVsRest, one_vs_rest

CHUNK = 2**21
"""Logits whose probabilities are held at once."""

RESAMPLES = 200
"""As many as a variance needs."""


class ClassScores(Metric):
    """Keeps logits and targets to the end of a split, once for all metrics together.

    Probabilities are computed in float64, of some images at a time: those of 10,000 images and classes would take
    800 MB.
    """

    label = "scores"

    def __init__(self, classes: int, device: torch.device) -> None:
        super().__init__(classes, device)
        self._logits: list[torch.Tensor] = []
        self._targets: list[torch.Tensor] = []

    def update(self, logits: torch.Tensor, targets: torch.Tensor) -> None:
        """Add a batch."""
        self._logits.append(logits)
        self._targets.append(targets)

    def compute(self) -> None:
        """Return nothing: others compute from what is kept."""

    @functools.cached_property
    def scores(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits (N, classes) or (N, 1) and targets (N) on the CPU; no batch can be added afterwards."""
        both = torch.cat(self._logits).cpu(), torch.cat(self._targets).cpu()
        self._logits, self._targets = [], []
        return both

    @property
    def images(self) -> int:
        """Number of images."""
        return len(self.scores[1])

    @functools.cached_property
    def predicted(self) -> torch.Tensor:
        """The likeliest class of each image (N)."""
        return predicted_classes(self.scores[0])

    @functools.cached_property
    def counts(self) -> torch.Tensor:
        """For each class, the images that have it and are given it, are given it, and have it (3, classes)."""
        return self._count(torch.ones(1, self.images, dtype=torch.float64))[0].long()

    @functools.cached_property
    def resampled_counts(self) -> torch.Tensor:
        """The same of resampled images (B, 3, classes), float64."""
        return resample(self._count, self.images, RESAMPLES)

    def _count(self, weights: torch.Tensor) -> torch.Tensor:
        """Return the counts (B, 3, classes) of images that count as often as their weights say (B, N)."""
        true, counts = self.scores[1], torch.zeros(len(weights), 3, self.classes, dtype=torch.float64)
        counts[:, 0].index_add_(1, true, weights * (self.predicted == true))
        counts[:, 1].index_add_(1, self.predicted, weights)
        counts[:, 2].index_add_(1, true, weights)
        return counts

    @functools.cached_property
    def confidence(self) -> torch.Tensor:
        """The probability of the likeliest class of each image (N), float64."""
        return torch.cat([shares.amax(dim=1) for shares, _ in self._probabilities()])

    @functools.cached_property
    def squared_errors(self) -> torch.Tensor:
        """The sum over the classes of the squared error of the probability, of each image (N), float64."""

        def errors(shares: torch.Tensor, true: torch.Tensor) -> torch.Tensor:
            of_true = shares.gather(1, true[:, None])[:, 0]
            return shares.square().sum(dim=1) + 1 - 2 * of_true

        return torch.cat([errors(shares, true) for shares, true in self._probabilities()]).clamp(min=0)

    @functools.cached_property
    def ranks(self) -> OneVsRest:
        """How well the probability of each class tells its images from the rest."""
        logits, true = self.scores
        alone = self.loss == "bce" or logits.shape[1] == 1
        normalizers = None if alone else torch.cat([self._scaled(some).logsumexp(dim=1) for some in self._rows(logits)])

        def probabilities_of(classes: torch.Tensor) -> torch.Tensor:
            if logits.shape[1] == 1:
                scaled = self._scaled(logits)
                return torch.cat([-scaled, scaled], dim=1)[:, classes].sigmoid_()
            scaled = self._scaled(logits[:, classes])
            return scaled.sigmoid_() if normalizers is None else scaled.sub_(normalizers[:, None]).exp_()

        return one_vs_rest(probabilities_of, true, self.classes)

    def _probabilities(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield probabilities (n, classes), float64, and classes (n) of some images after the others."""
        logits, true = self.scores
        for some, theirs in zip(self._rows(logits), self._rows(true), strict=True):
            yield probabilities(self._scaled(some), self.loss), theirs

    def _rows(self, values: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return torch.split(values, max(1, CHUNK // max(1, self.classes)))

    def _scaled(self, logits: torch.Tensor) -> torch.Tensor:
        return logits.double() / self.temperature


class ClassMetric(Derived[ClassScores]):
    """A metric of one class an image."""

    source = ClassScores
