"""The losses: of one logit for each class or label, and of one logit for two classes."""

from dataclasses import dataclass, field

import torch
from torch.nn import functional

from tl_toolkit.config.choices import Loss


@dataclass(frozen=True, slots=True)
class Criterion:
    """The loss of logits (N, C), or (N, 1) of two classes, against targets (N), or of logits (N, C) against (N, C).

    The loss of several labels is the sum over them: each is a yes or no of its own, and weighs as much against weight
    decay as if it were alone.

    Attributes:
        loss: "cross-entropy", or "bce": a yes or no for each class.
        label_smoothing: Share of a target that is spread over all classes, or for several labels over yes and no.
        class_weights: Weight of an image of each class (classes), on the device of the logits; None for equal weights.
            An image of weight 2 counts as two images. For several labels the weight of the images with each label.
    """

    loss: Loss = "cross-entropy"
    label_smoothing: float = 0.0
    class_weights: torch.Tensor | None = field(default=None, compare=False)

    @property
    def plain(self) -> "Criterion":
        """The loss of val and test: without label smoothing and class weights."""
        return Criterion(self.loss)

    def __call__(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the mean over the batch, weighted if there are class weights."""
        if targets.ndim == 2:
            return self._of_rows(logits, targets)
        if self.class_weights is None:
            return self._losses(logits, targets, "mean")
        weights = self.class_weights[targets]
        losses = self._losses(logits, targets, "none")
        return (losses.flatten(1).mean(dim=1) if losses.ndim > 1 else losses).mul(weights).sum() / weights.sum()

    def of_each(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the loss of each image (N), without class weights."""
        if targets.ndim == 2 and self.loss == "bce":
            smoothed = targets * (1 - self.label_smoothing) + self.label_smoothing / 2
            return functional.binary_cross_entropy_with_logits(logits, smoothed, reduction="none").sum(dim=1)
        losses = self._losses(logits, targets, "none")
        return losses.flatten(1).mean(dim=1) if losses.ndim > 1 else losses

    def weight(self, targets: torch.Tensor) -> float:
        """Return how many images a batch counts as."""
        if self.class_weights is None or targets.ndim == 2:
            return float(len(targets))
        return float(self.class_weights[targets].sum())

    def _of_rows(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the mean loss of several labels (bce) or shares of classes (cross-entropy) an image."""
        if self.loss == "cross-entropy":
            return functional.cross_entropy(logits, targets, label_smoothing=self.label_smoothing)
        smoothed = targets * (1 - self.label_smoothing) + self.label_smoothing / 2
        total = functional.binary_cross_entropy_with_logits(
            logits, smoothed, pos_weight=self.class_weights, reduction="sum"
        )
        return total / len(targets)

    def _losses(self, logits: torch.Tensor, targets: torch.Tensor, reduction: str) -> torch.Tensor:
        """Return the mean, or with reduction "none" the loss of each image (N), for bce of each class too (N, C)."""
        if logits.shape[1] == 1:
            smoothed = targets.float() * (1 - self.label_smoothing) + self.label_smoothing / 2
            return functional.binary_cross_entropy_with_logits(logits[:, 0], smoothed, reduction=reduction)
        if self.loss == "bce":
            from timm.loss import BinaryCrossEntropy  # timm is slow to import, and prediction needs no loss.

            loss: torch.Tensor = BinaryCrossEntropy(self.label_smoothing, reduction=reduction)(logits, targets)
            return loss
        return functional.cross_entropy(logits, targets, label_smoothing=self.label_smoothing, reduction=reduction)
