"""Accuracy of each class, which is its recall."""

import torch

from tl_toolkit.metrics.base import Metric
from tl_toolkit.metrics.logits import predicted_classes


class ClassAccuracy(Metric):
    """Share of each class's images whose likeliest class is right; None for a class without images."""

    label = "recall"

    def __init__(self, classes: int, device: torch.device) -> None:
        super().__init__(classes, device)
        self._images = torch.zeros(classes, dtype=torch.long, device=device)
        self._correct = torch.zeros(classes, dtype=torch.long, device=device)

    def update(self, logits: torch.Tensor, targets: torch.Tensor) -> None:
        """Add a batch."""
        correct = predicted_classes(logits) == targets
        self._images += torch.bincount(targets, minlength=self.classes)
        self._correct += torch.bincount(targets[correct], minlength=self.classes)

    def compute(self) -> tuple[float | None, ...]:
        """Return the share of each class over all batches."""
        pairs = zip(self._correct.tolist(), self._images.tolist(), strict=True)
        return tuple(correct / images if images else None for correct, images in pairs)
