"""Share of the images whose labels are all right."""

from tl_toolkit.metrics.intervals import Interval, wilson
from tl_toolkit.metrics.label_scores import LabelMetric, LabelScores
from tl_toolkit.metrics.logits import predicted_labels


class SubsetAccuracy(LabelMetric):
    """Share of the images that are given all labels that they have and no other.

    It is what scikit-learn's `accuracy_score` computes for several labels an image.
    """

    label = "all right"

    def derive(self, source: LabelScores) -> float:
        """Return the share."""
        return self._right(source) / source.images

    def derive_interval(self, source: LabelScores) -> Interval:
        """Return the interval of the share."""
        return wilson(self._right(source), source.images)

    @staticmethod
    def _right(source: LabelScores) -> int:
        logits, labels = source.scores
        return int((predicted_labels(logits, source.given_from) == labels).all(dim=1).sum())
