"""How far predicted shares are from true ones."""

import math

import torch

from tl_toolkit.metrics.base import Metric
from tl_toolkit.metrics.intervals import Interval, mean_interval
from tl_toolkit.metrics.meter import loss_sum


class KLDivergence(Metric):
    """Mean Kullback-Leibler divergence of the predicted shares from the true ones, in nats: 0 is perfect.

    The loss of soft labels is this plus the entropy of the true shares, which no model can remove.
    """

    label = "KL divergence"
    format = "number"
    tasks = ("soft",)

    def __init__(self, classes: int, device: torch.device) -> None:
        super().__init__(classes, device)
        self._total, self._images = loss_sum(device), 0
        self._values: list[torch.Tensor] = []

    def update(self, logits: torch.Tensor, targets: torch.Tensor) -> None:
        """Add a batch."""
        surprise = torch.xlogy(targets, targets) - targets * logits.log_softmax(dim=1)
        self._total += surprise.sum()
        self._images += len(targets)
        self._values.append(surprise.sum(dim=1))

    def compute(self) -> float:
        """Return the mean over all batches."""
        return float(self._total) / self._images

    def interval(self) -> Interval:
        """Return the interval of the mean."""
        return mean_interval(torch.cat(self._values), math.log(self.classes))
