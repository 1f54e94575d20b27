"""Top-5 accuracy."""

import torch

from tl_toolkit.metrics.accuracy import Accuracy
from tl_toolkit.metrics.logits import true_classes

TOP_K = 5


class Top5Accuracy(Accuracy):
    """Share of the images whose class is among the five likeliest."""

    label = "top-5"

    @classmethod
    def applies(cls, classes: int) -> bool:
        """Return whether there are more than five classes."""
        return classes > TOP_K

    def correct(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return whether each of the five likeliest classes (N, 5) is right."""
        return logits.topk(TOP_K, dim=1).indices == true_classes(targets)[:, None]
