"""Precision, recall and F1 of classes, and their means: macro, where each class counts the same, and weighted.

A mean is over the classes that have images, as of scikit-learn's `f1_score(..., labels=those)`: a class without images
has no recall. The precision of a class that no image is taken for counts as 0 in a mean.
"""

import math
from abc import abstractmethod
from collections.abc import Callable
from typing import ClassVar

import torch

from tl_toolkit.config.choices import Task
from tl_toolkit.metrics.base import Derived, Metric
from tl_toolkit.metrics.class_scores import ClassMetric, ClassScores
from tl_toolkit.metrics.intervals import Interval, for_few_images, share_interval, wilson
from tl_toolkit.metrics.label_scores import LabelScores


class ClassImages(ClassMetric):
    """Number of images of each class."""

    label = "images"
    format = "count"

    def derive(self, source: ClassScores) -> tuple[float | None, ...]:
        """Return the number of each class."""
        return tuple(source.counts[2].tolist())


class ClassPrecision(ClassMetric):
    """Share of the images taken for a class that have it; None for a class that no image is taken for."""

    label = "precision"

    def derive(self, source: ClassScores) -> tuple[float | None, ...]:
        """Return the share of each class."""
        right, given, _ = source.counts.tolist()
        return tuple(hits / images if images else None for hits, images in zip(right, given, strict=True))


class ClassF1(ClassMetric):
    """Harmonic mean of a class's precision and recall; None for a class without images."""

    label = "F1"

    def derive(self, source: ClassScores) -> tuple[float | None, ...]:
        """Return the value of each class."""
        columns = zip(*source.counts.tolist(), strict=True)
        return tuple(2 * right / (given + there) if there else None for right, given, there in columns)


class MeanOfClasses(Derived[ClassScores | LabelScores]):
    """A mean over the classes that have images, of figures computed from three numbers of images.

    Of a class, `right` images have it and are given it, `given` are given it and `there` have it (..., classes).
    """

    source = ClassScores

    def derive(self, source: ClassScores | LabelScores) -> float | None:
        """Return the mean; None where no class has images."""
        value = float(self.of_counts(source.counts.double()))
        return None if math.isnan(value) else value

    def derive_interval(self, source: ClassScores | LabelScores) -> Interval | None:
        """Return the interval from the variance over resampled images."""
        value, variance = self.derive(source), counts_variance(source, self.of_counts)
        return None if value is None else share_interval(value, variance, source.images)

    def of_counts(self, counts: torch.Tensor) -> torch.Tensor:
        """Return the mean (...) of the numbers of images (..., 3, classes), float64."""
        right, given, there = counts.unbind(-2)
        weights = self.weights(there)
        return (self.of_classes(right, given, there) * weights).sum(-1) / weights.sum(-1)

    @staticmethod
    @abstractmethod
    def of_classes(right: torch.Tensor, given: torch.Tensor, there: torch.Tensor) -> torch.Tensor:
        """Return the figure of each class (..., classes); anything for a class without images."""

    @staticmethod
    def weights(there: torch.Tensor) -> torch.Tensor:
        """Return what the classes count in the mean (..., classes)."""
        return (there > 0).double()


def counts_variance(source: ClassScores | LabelScores, of_counts: Callable[[torch.Tensor], torch.Tensor]) -> float:
    """Return the variance of a figure over resampled images, `for_few_images`.

    Args:
        source: The scores of the split.
        of_counts: Returns the figure (...) of numbers of images (..., 3, classes).
    """
    values, images = of_counts(source.resampled_counts), source.images
    known = values[~values.isnan()]
    variance = float(known.var(correction=0)) if len(known) else 0.0
    return for_few_images(variance, images, int((source.counts[2] > 0).sum()))


class MacroPrecision(MeanOfClasses):
    """Mean of the precision of the classes that have images; 0 counts for one that no image is taken for."""

    label = "macro precision"
    in_table = False

    @staticmethod
    def of_classes(right: torch.Tensor, given: torch.Tensor, there: torch.Tensor) -> torch.Tensor:  # noqa: ARG004
        """Return the precision of each class."""
        return right / given.clamp(min=1)


class MacroRecall(MeanOfClasses):
    """Mean of the recall of the classes that have images: chance level is 1 / classes, however rare some are."""

    label = "balanced accuracy"

    @staticmethod
    def of_classes(right: torch.Tensor, given: torch.Tensor, there: torch.Tensor) -> torch.Tensor:  # noqa: ARG004
        """Return the recall of each class."""
        return right / there.clamp(min=1)


class SameAsBalancedAccuracy(MacroRecall):
    """The same, by the name that it has beside macro precision and macro F1."""

    label = "macro recall"
    in_table = False


class MacroF1(MeanOfClasses):
    """Mean F1 of the classes or labels that have images, each counting the same."""

    label = "macro F1"
    tasks: ClassVar[tuple[Task, ...]] = ("multi-class", "multi-label")

    @classmethod
    def source_of(cls, task: Task) -> type[Metric]:
        """Return what keeps the scores of a task."""
        return LabelScores if task == "multi-label" else ClassScores

    @staticmethod
    def of_classes(right: torch.Tensor, given: torch.Tensor, there: torch.Tensor) -> torch.Tensor:
        """Return the F1 of each class."""
        return 2 * right / (given + there).clamp(min=1)


class _Weighted(MeanOfClasses):
    in_table = False

    @staticmethod
    def weights(there: torch.Tensor) -> torch.Tensor:
        """Return the number of images of each class."""
        return there


class WeightedPrecision(_Weighted, MacroPrecision):
    """Mean of the precision of the classes, weighted by their images."""

    label = "weighted precision"


class WeightedF1(_Weighted, MacroF1):
    """Mean F1 of the classes, weighted by their images."""

    label = "weighted F1"
    tasks: ClassVar[tuple[Task, ...]] = ("multi-class",)


class WeightedRecall(ClassMetric):
    """Mean of the recall of the classes, weighted by their images: the same as the accuracy."""

    label = "weighted recall"
    in_table = False

    def derive(self, source: ClassScores) -> float:
        """Return the share of the images that are right."""
        return int(source.counts[0].sum()) / source.images

    def derive_interval(self, source: ClassScores) -> Interval:
        """Return the interval of the share."""
        return wilson(int(source.counts[0].sum()), source.images)
