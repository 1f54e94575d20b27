"""Average precision of each label, its mean, and the mean's standard error."""

import math

from tl_toolkit.metrics.label_scores import LabelMetric, LabelScores


class AveragePrecision(LabelMetric):
    """Average precision of each label, None for one without images; see `label_scores.average_precision`."""

    label = "AP"

    def derive(self, source: LabelScores) -> tuple[float | None, ...]:
        """Return the value of each label."""
        return source.average_precision


class MeanAveragePrecision(LabelMetric):
    """Mean of the average precision over the labels that have images, each label counting the same."""

    label = "mAP"

    def derive(self, source: LabelScores) -> float | None:
        """Return the mean; None if no image has a label."""
        known = [value for value in source.average_precision if value is not None]
        return math.fsum(known) / len(known) if known else None


class MeanAveragePrecisionError(LabelMetric):
    """Standard error of the mean average precision.

    That of a label is binomial in its number of images, as Boyd, Eng and Page (2013, "Area under the precision-recall
    curve: point estimates and confidence intervals") recommend for intervals; labels count as independent.
    """

    label = "standard error"

    def derive(self, source: LabelScores) -> float | None:
        """Return the standard error; None if no image has a label."""
        pairs = zip(source.average_precision, source.counts[2].tolist(), strict=True)
        variances = [value * (1 - value) / count for value, count in pairs if value is not None]
        return math.sqrt(max(0.0, math.fsum(variances))) / len(variances) if variances else None
