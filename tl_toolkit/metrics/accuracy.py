"""Top-1 accuracy."""

import torch

from tl_toolkit.metrics.base import Metric
from tl_toolkit.metrics.intervals import Interval, wilson
from tl_toolkit.metrics.logits import predicted_classes, true_classes


class Accuracy(Metric):
    """Share of the images whose likeliest class is right; of soft labels, the class with the largest share."""

    label = "top-1"
    tasks = ("multi-class", "soft")

    def __init__(self, classes: int, device: torch.device) -> None:
        super().__init__(classes, device)
        self._images = 0
        self._correct = torch.zeros((), dtype=torch.long, device=device)

    def update(self, logits: torch.Tensor, targets: torch.Tensor) -> None:
        """Add a batch."""
        self._images += len(targets)
        self._correct += self.correct(logits, targets).sum()

    def correct(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return whether each image counts (N, or N and its candidates)."""
        return predicted_classes(logits) == true_classes(targets)

    def compute(self) -> float:
        """Return the share over all batches."""
        return int(self._correct) / self._images

    def interval(self) -> Interval:
        """Return the interval of the share."""
        return wilson(int(self._correct), self._images)
