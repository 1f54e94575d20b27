"""Figures of a model on resampled images, for the bootstrap."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Self

import torch
from torch.nn import functional

from tl_toolkit.config.choices import Loss
from tl_toolkit.metrics.label_scores import rank
from tl_toolkit.metrics.logits import predicted_labels
from tl_toolkit.metrics.predictions import Predictions

Statistic = Callable[[torch.Tensor], torch.Tensor]
"""Takes how often each image counts in each of some resamples (B, N), float64, and returns the figure of each (B)."""

NAMES: Mapping[str, str] = {
    "accuracy": "top-1",
    "mean_average_precision": "mAP",
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "macro F1",
    "micro_f1": "micro F1",
    "subset_accuracy": "all labels right",
    "loss": "loss",
}
"""What figures are called. All but the loss are shares, and better the higher they are."""


def statistics(
    predictions: Predictions, names: Sequence[str], thresholds: torch.Tensor | None = None
) -> dict[str, Statistic]:
    """Return the functions that compute figures of resampled images.

    Args:
        predictions: Of a model.
        names: Which of `NAMES`.
        thresholds: As in `Metric`.
    """
    of_labels = predictions.task == "multi-label"
    known: dict[str, Callable[[], Statistic]] = {
        "accuracy": lambda: _mean_of(predictions.right),
        "subset_accuracy": lambda: _mean_of(are_all_right(predictions, thresholds)),
        "loss": lambda: _mean_of(image_losses(predictions.logits, predictions.targets, predictions.loss)),
        "balanced_accuracy": lambda: _balanced_accuracy(predictions),
        "macro_f1": lambda: _label_f1(predictions, thresholds, True) if of_labels else _macro_f1(predictions),
        "micro_f1": lambda: _label_f1(predictions, thresholds, False),
        "mean_average_precision": lambda: _mean_average_precision(predictions),
    }
    return {name: known[name]() for name in names}


def image_losses(logits: torch.Tensor, targets: torch.Tensor, loss: Loss) -> torch.Tensor:
    """Return the loss of each image (N), as `training.losses.Criterion` defines it, without label smoothing.

    Args:
        logits: (N, classes), or (N, 1) of two classes.
        targets: (N) or (N, classes), as in `Predictions`.
        loss: The training loss.
    """
    if logits.shape[1] == 1:
        return functional.binary_cross_entropy_with_logits(logits[:, 0], targets.float(), reduction="none")
    if loss == "cross-entropy":
        return functional.cross_entropy(logits, targets, reduction="none")
    if targets.ndim == 2:
        return functional.binary_cross_entropy_with_logits(logits, targets.float(), reduction="none").sum(dim=1)
    rows = functional.one_hot(targets, logits.shape[1]).float()
    return functional.binary_cross_entropy_with_logits(logits, rows, reduction="none").mean(dim=1)


def are_all_right(predictions: Predictions, thresholds: torch.Tensor | None) -> torch.Tensor:
    """Return which images are given exactly their labels (N)."""
    return (predicted_labels(predictions.logits, thresholds) == (predictions.targets > 0)).all(dim=1)


def _mean_of(values: torch.Tensor) -> Statistic:
    of_images = values.double()
    return lambda weights: weights @ of_images / weights.sum(dim=1)


def _sums(weights: torch.Tensor, classes: torch.Tensor, count: int) -> torch.Tensor:
    """Return the sum of the weights of each class's images, (B, classes)."""
    return weights.new_zeros(len(weights), count).index_add_(1, classes, weights)


def _mean_where(values: torch.Tensor, there: torch.Tensor) -> torch.Tensor:
    """Return the mean over the classes that a resample has images of (B)."""
    kept = there > 0
    return torch.where(kept, values, 0.0).sum(dim=1) / kept.sum(dim=1).clamp(min=1)


def _balanced_accuracy(predictions: Predictions) -> Statistic:
    """Return the mean, over the classes that have images, of the share that is right."""
    true, right = predictions.true, predictions.right.double()
    count = int(true.max()) + 1

    def statistic(weights: torch.Tensor) -> torch.Tensor:
        there = _sums(weights, true, count)
        return _mean_where(_sums(weights * right, true, count) / there.clamp(min=1), there)

    return statistic


def _macro_f1(predictions: Predictions) -> Statistic:
    """Return the mean F1 of the classes that have images."""
    true, predicted, right = predictions.true, predictions.predicted, predictions.right.double()
    count = int(torch.maximum(true, predicted).max()) + 1

    def statistic(weights: torch.Tensor) -> torch.Tensor:
        there, given = _sums(weights, true, count), _sums(weights, predicted, count)
        return _mean_where(2 * _sums(weights * right, true, count) / (there + given).clamp(min=1), there)

    return statistic


def _label_f1(predictions: Predictions, thresholds: torch.Tensor | None, macro: bool) -> Statistic:
    """Return the mean F1 of the labels that have images, or with `macro` false that of all labels together."""
    given, there = predicted_labels(predictions.logits, thresholds), predictions.targets > 0
    of_images = [part.double() for part in (given & there, given, there)]

    def statistic(weights: torch.Tensor) -> torch.Tensor:
        right, were_given, were_there = (weights @ part for part in of_images)  # (B, classes)
        if macro:
            return _mean_where(2 * right / (were_given + were_there).clamp(min=1), were_there)
        return 2 * right.sum(dim=1) / (were_given + were_there).sum(dim=1).clamp(min=1)

    return statistic


def _mean_average_precision(predictions: Predictions) -> Statistic:
    """Return the mean average precision of the labels that have images; see `label_scores.average_precision`."""
    columns = [
        _RankedLabel.of(logits, labels)
        for logits, labels in zip(predictions.logits.T, predictions.targets.T > 0, strict=True)
    ]

    def statistic(weights: torch.Tensor) -> torch.Tensor:
        counts = weights.float()  # Sums of whole numbers below 2^24 are exact.
        precisions, images = zip(*(column.average_precision(counts) for column in columns), strict=True)
        return _mean_where(torch.stack(precisions, dim=1).double(), torch.stack(images, dim=1))

    return statistic


class _RankedLabel(NamedTuple):
    """The images of a label by their score, best first.

    Attributes:
        order: Image at each place (N).
        hits: Places of the images that have the label (K).
        ends: For each of these the last place with the same score (K).
        hits_at_ends: The number of them up to that place, less 1 (K).
    """

    order: torch.Tensor
    hits: torch.Tensor
    ends: torch.Tensor
    hits_at_ends: torch.Tensor

    @classmethod
    def of(cls, logits: torch.Tensor, labels: torch.Tensor) -> Self:
        """Rank images by their logits (N), of which some have the label (N)."""
        order = logits.argsort(descending=True)
        hits = labels[order].nonzero()[:, 0]
        ends = rank(logits[:, None], labels[:, None])[2][:, 0][hits]
        return cls(order, hits, ends, torch.searchsorted(hits, ends, right=True) - 1)

    def average_precision(self, counts: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the average precision and the images with the label in each resample (B), from (B, N)."""
        ranked = counts[:, self.order]
        of_hits = ranked[:, self.hits]
        found = of_hits.cumsum(dim=1)[:, self.hits_at_ends]
        precision = found / ranked.cumsum(dim=1)[:, self.ends].clamp(min=1)
        images = of_hits.sum(dim=1)
        return (of_hits * precision).sum(dim=1) / images.clamp(min=1), images
