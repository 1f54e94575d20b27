"""Losses, and what logits say: for one logit for each class, and for one logit that tells two classes apart."""

from dataclasses import dataclass, field

import torch
from torch.nn import functional

from tl_toolkit.config.choices import Loss


@dataclass(frozen=True, slots=True)
class Criterion:
    """The loss of logits (N, C), or (N, 1) of two classes, against targets (N).

    Attributes:
        loss: "cross-entropy", or "bce": a yes or no for each class.
        label_smoothing: Share of a target that is spread over all classes.
        class_weights: How much an image of each class counts (classes), on the device of the logits; None where all
            count alike. An image of weight 2 counts as if it were there twice.
    """

    loss: Loss = "cross-entropy"
    label_smoothing: float = 0.0
    class_weights: torch.Tensor | None = field(default=None, compare=False)

    @property
    def plain(self) -> "Criterion":
        """What val and test are judged by: no label smoothing, and all images count alike."""
        return Criterion(self.loss)

    def __call__(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """The mean over the batch, weighted where classes have weights."""
        if self.class_weights is None:
            return self._losses(logits, targets, "mean")
        weights = self.class_weights[targets]
        losses = self._losses(logits, targets, "none")
        return (losses.flatten(1).mean(dim=1) if losses.ndim > 1 else losses).mul(weights).sum() / weights.sum()

    def _losses(self, logits: torch.Tensor, targets: torch.Tensor, reduction: str) -> torch.Tensor:
        """The mean, or the loss of each image (N), with bce of each class of it (N, C)."""
        if logits.shape[1] == 1:
            wanted = targets.float() * (1 - self.label_smoothing) + self.label_smoothing / 2
            return functional.binary_cross_entropy_with_logits(logits[:, 0], wanted, reduction=reduction)
        if self.loss == "bce":
            from timm.loss import BinaryCrossEntropy  # Its library is slow to import, and prediction needs no loss.

            loss: torch.Tensor = BinaryCrossEntropy(self.label_smoothing, reduction=reduction)(logits, targets)
            return loss
        return functional.cross_entropy(logits, targets, label_smoothing=self.label_smoothing, reduction=reduction)
