"""Precision, recall and F1 of the labels that images are given."""

from abc import abstractmethod

import torch

from tl_toolkit.metrics.class_counts import counts_variance
from tl_toolkit.metrics.intervals import Interval, share_interval
from tl_toolkit.metrics.label_scores import LabelMetric, LabelScores


class EachLabel(LabelMetric):
    """A value of each label, from three numbers of images: `right` have it and are given it, `given` and `there`."""

    def derive(self, source: LabelScores) -> float | tuple[float | None, ...] | None:
        """Return the value of each label."""
        return tuple(self.of_label(*counts) for counts in zip(*source.counts.tolist(), strict=True))

    @staticmethod
    @abstractmethod
    def of_label(right: int, given: int, there: int) -> float | None:
        """Return the value of a label; None where there is nothing to compute it from."""


class LabelImages(EachLabel):
    """Number of images with each label."""

    label = "images"
    format = "count"

    @staticmethod
    def of_label(right: int, given: int, there: int) -> float:  # noqa: ARG004
        """Return the number."""
        return there


class Precision(EachLabel):
    """Share of the images given a label that have it; None for a label that no image is given."""

    label = "precision"

    @staticmethod
    def of_label(right: int, given: int, there: int) -> float | None:  # noqa: ARG004
        """Return the value of a label."""
        return right / given if given else None


class Recall(EachLabel):
    """Share of the images with a label that are given it; None for a label without images."""

    label = "recall"

    @staticmethod
    def of_label(right: int, given: int, there: int) -> float | None:  # noqa: ARG004
        """Return the value of a label."""
        return right / there if there else None


class F1(EachLabel):
    """Harmonic mean of a label's precision and recall; None for a label without images."""

    label = "F1"

    @staticmethod
    def of_label(right: int, given: int, there: int) -> float | None:
        """Return the value of a label."""
        return 2 * right / (given + there) if there else None


class MicroF1(F1):
    """F1 of all labels together: frequent labels count more."""

    label = "micro F1"

    def derive(self, source: LabelScores) -> float | None:
        """Return the value over all labels."""
        right, given, there = source.counts.sum(dim=1).tolist()
        return self.of_label(right, given, there)

    def derive_interval(self, source: LabelScores) -> Interval | None:
        """Return the interval from the variance over resampled images."""
        value = self.derive(source)
        return None if value is None else share_interval(value, counts_variance(source, _micro_f1), source.images)


def _micro_f1(counts: torch.Tensor) -> torch.Tensor:
    right, given, there = counts.sum(dim=-1).unbind(-1)
    return 2 * right / (given + there)


class Threshold(LabelMetric):
    """Probability from which an image is given each label."""

    label = "threshold"

    def derive(self, source: LabelScores) -> tuple[float | None, ...]:
        """Return the probability of each label."""
        return tuple(source.given_from.tolist())
