"""Share of the images whose labels are all right."""

from tl_toolkit.metrics.label_scores import LabelMetric, LabelScores
from tl_toolkit.metrics.logits import predicted_labels


class SubsetAccuracy(LabelMetric):
    """Share of the images that are given all labels that they have and no other.

    It is what scikit-learn's `accuracy_score` computes for several labels an image.
    """

    label = "all right"

    def derive(self, source: LabelScores) -> float:
        """Return the share."""
        logits, labels = source.scores
        right = (predicted_labels(logits, source.given_from) == labels).all(dim=1)
        return int(right.sum()) / len(labels)
