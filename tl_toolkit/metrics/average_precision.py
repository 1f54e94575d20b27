"""Average precision of each label, its mean, and the mean's standard error."""

import math

from tl_toolkit.config.choices import Task
from tl_toolkit.metrics.base import Derived, Metric
from tl_toolkit.metrics.class_scores import ClassScores
from tl_toolkit.metrics.intervals import Interval, for_few_images, share_interval
from tl_toolkit.metrics.label_scores import LabelMetric, LabelScores
from tl_toolkit.metrics.one_vs_rest import mean_of_known


class AveragePrecision(LabelMetric):
    """Average precision of each label, None for one without images; see `label_scores.average_precision`."""

    label = "AP"

    def derive(self, source: LabelScores) -> tuple[float | None, ...]:
        """Return the value of each label."""
        return source.average_precision


class MeanAveragePrecision(Derived[LabelScores | ClassScores]):
    """Mean of the average precision over the labels or classes that have images, each counting the same.

    Of classes, each is ranked against the rest by its probability; one that no image has, or all, is left out.
    """

    label = "mAP"
    tasks = ("multi-label", "multi-class")
    source = LabelScores

    @classmethod
    def source_of(cls, task: Task) -> type[Metric]:
        """Return what keeps the scores of a task."""
        return LabelScores if task == "multi-label" else ClassScores

    def derive(self, source: LabelScores | ClassScores) -> float | None:
        """Return the mean; None if there is nothing to rank."""
        if isinstance(source, ClassScores):
            return mean_of_known(source.ranks.average_precision)
        known = [value for value in source.average_precision if value is not None]
        return math.fsum(known) / len(known) if known else None

    def derive_interval(self, source: LabelScores | ClassScores) -> Interval | None:
        """Return the interval from the standard error."""
        value = self.derive(source)
        if isinstance(source, ClassScores):
            known = int((~source.ranks.average_precision.isnan()).sum())
            variance = for_few_images(source.ranks.average_precision_variance, source.images, known)
        else:
            variance = (label_precision_error(source) or 0.0) ** 2
        return None if value is None else share_interval(value, variance, source.images)


class MeanAveragePrecisionError(LabelMetric):
    """Standard error of the mean average precision.

    That of a label is binomial in its number of images, as Boyd, Eng and Page (2013, "Area under the precision-recall
    curve: point estimates and confidence intervals") recommend for intervals; labels count as independent.
    """

    label = "standard error"

    def derive(self, source: LabelScores) -> float | None:
        """Return the standard error; None if no image has a label."""
        return label_precision_error(source)


def label_precision_error(source: LabelScores) -> float | None:
    """Return the standard error of the mean over the labels; None if no image has a label."""
    pairs = zip(source.average_precision, source.counts[2].tolist(), strict=True)
    variances = [value * (1 - value) / count for value, count in pairs if value is not None]
    return math.sqrt(max(0.0, math.fsum(variances))) / len(variances) if variances else None
