"""The scores of a split with several labels an image, from which all metrics of labels are computed."""

import functools

import torch

from tl_toolkit.metrics.base import Derived, Metric
from tl_toolkit.metrics.intervals import resample
from tl_toolkit.metrics.logits import EVEN, predicted_labels

CHUNK = 2**22
"""Scores that are sorted at once."""

RESAMPLES = 200
"""As many as a variance needs."""


class LabelScores(Metric):
    """Keeps logits and labels (N, classes) to the end of a split: average precision depends on the order of them all.

    They are kept once, for all metrics together.
    """

    label = "scores"
    tasks = ("multi-label",)

    def __init__(self, classes: int, device: torch.device) -> None:
        super().__init__(classes, device)
        self._logits: list[torch.Tensor] = []
        self._labels: list[torch.Tensor] = []

    def update(self, logits: torch.Tensor, targets: torch.Tensor) -> None:
        """Add a batch."""
        self._logits.append(logits)
        self._labels.append(targets > 0)

    def compute(self) -> None:
        """Return nothing: others compute from `scores`."""

    @functools.cached_property
    def scores(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits and labels of the split, both (N, classes); no batch can be added afterwards."""
        both = torch.cat(self._logits), torch.cat(self._labels)
        self._logits, self._labels = [], []
        return both

    @functools.cached_property
    def given_from(self) -> torch.Tensor:
        """The probability from which an image is given each label (classes), on the device."""
        logits, labels = self.scores
        if self.thresholds is None:
            return torch.full((self.classes,), EVEN, device=logits.device)
        found = self.thresholds if isinstance(self.thresholds, torch.Tensor) else self.thresholds(logits, labels)
        return found.to(logits.device)

    @functools.cached_property
    def counts(self) -> torch.Tensor:
        """For each label, the images that have it and are given it, are given it, and have it (3, classes).

        An image is given the labels whose probability is at least their threshold.
        """
        logits, there = self.scores
        given = predicted_labels(logits, self.given_from)
        return torch.stack([(given & there).sum(dim=0), given.sum(dim=0), there.sum(dim=0)]).cpu()

    @property
    def images(self) -> int:
        """Number of images."""
        return len(self.scores[1])

    @functools.cached_property
    def resampled_counts(self) -> torch.Tensor:
        """The same of resampled images (B, 3, classes), float64."""
        logits, there = self.scores
        given = predicted_labels(logits, self.given_from)

        def count(weights: torch.Tensor) -> torch.Tensor:
            some = weights.float().to(logits.device)
            width = max(1, CHUNK // len(there))
            columns = zip(torch.split(given, width, dim=1), torch.split(there, width, dim=1), strict=True)
            parts = [torch.stack([some @ each.float() for each in (g & t, g, t)], dim=1) for g, t in columns]
            return torch.cat(parts, dim=2).cpu()

        return resample(count, len(there), RESAMPLES)

    @functools.cached_property
    def average_precision(self) -> tuple[float | None, ...]:
        """The average precision of each label; None for one without images."""
        values = average_precision(*self.scores).tolist()
        return tuple(value if count else None for value, count in zip(values, self.counts[2].tolist(), strict=True))


class LabelMetric(Derived[LabelScores]):
    """A metric of several labels an image."""

    tasks = ("multi-label",)
    source = LabelScores


def average_precision(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return the average precision of each label (classes), float64 on the CPU; 0 for a label without images.

    It is the mean, over the images with the label, of the precision among those ranked as high or higher. Of images
    with equal scores all or none are ranked higher, as in scikit-learn's `average_precision_score`.

    Args:
        logits: (N, classes).
        labels: Which images have the label (N, classes).
    """
    columns = max(1, CHUNK // max(1, len(logits)))
    parts = zip(torch.split(logits, columns, dim=1), torch.split(labels, columns, dim=1), strict=True)
    return torch.cat([_average_precision(some.cpu(), theirs.cpu()) for some, theirs in parts])


def _average_precision(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    hits, precision_of, last = rank(logits, labels)
    return (hits * precision_of.gather(0, last)).sum(dim=0) / hits.sum(dim=0).clamp(min=1)


def rank(logits: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Rank the images of each label by its score, best first.

    Returns:
        Whether the image at each place has the label, the precision of all up to it, both float64, and the last place
        with the same score; (N, classes) each.
    """
    ranked, order = logits.sort(dim=0, descending=True)
    hits = labels.gather(0, order).double()
    places = torch.arange(len(logits))[:, None].expand_as(order)
    ends = torch.ones_like(labels, dtype=torch.bool)
    ends[:-1] = ranked[:-1] != ranked[1:]
    last = torch.where(ends, places, len(logits)).flip(0).cummin(dim=0).values.flip(0)
    return hits, hits.cumsum(dim=0) / (places + 1), last
