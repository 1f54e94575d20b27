"""Area under the ROC curve of each class against the rest, and its mean."""

from tl_toolkit.metrics.class_scores import ClassMetric, ClassScores
from tl_toolkit.metrics.intervals import Interval, for_few_images, share_interval
from tl_toolkit.metrics.one_vs_rest import as_tuple, mean_of_known


class RocAuc(ClassMetric):
    """Mean over the classes of the area under the ROC curve of each against the rest; None if there is one class.

    It is how often an image of the class has a higher probability of it than an image of another class, as
    scikit-learn's `roc_auc_score(..., multi_class="ovr")`.
    """

    label = "ROC AUC"

    def derive(self, source: ClassScores) -> float | None:
        """Return the mean over the classes that some images have and others do not."""
        return mean_of_known(source.ranks.roc_auc)

    def derive_interval(self, source: ClassScores) -> Interval | None:
        """Return the interval from the variance.

        An image that is taken for one of many classes still stands above the images of most others, so it takes away
        less of the area: the figure counts as more images than there are.
        """
        value = self.derive(source)
        known = int((~source.ranks.roc_auc.isnan()).sum())
        most = source.images * max(1, known / 2)
        variance = for_few_images(source.ranks.roc_auc_variance, source.images, known)
        return None if value is None else share_interval(value, variance, most)


class ClassRocAuc(ClassMetric):
    """Area under the ROC curve of each class against the rest; None for a class that no image has, or all."""

    label = "ROC AUC"
    in_table = False

    def derive(self, source: ClassScores) -> tuple[float | None, ...]:
        """Return the area of each class."""
        return as_tuple(source.ranks.roc_auc)


class ClassAveragePrecision(ClassMetric):
    """Average precision of each class against the rest; None for a class that no image has, or all."""

    label = "AP"
    in_table = False

    def derive(self, source: ClassScores) -> tuple[float | None, ...]:
        """Return the value of each class."""
        return as_tuple(source.ranks.average_precision)
