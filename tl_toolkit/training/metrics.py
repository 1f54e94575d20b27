"""Loss and accuracies of a pass over a split."""

from dataclasses import dataclass

import torch
from torchmetrics import SumMetric
from torchmetrics.classification import MulticlassAccuracy

from tl_toolkit.training.losses import predicted_classes

TOP_K = 5
"""Top-5 accuracy is told where there are more classes than five."""


@dataclass(frozen=True)
class Scores:
    """Results of a pass; accuracies are fractions.

    Attributes:
        images: How many images were judged.
        loss: Mean, without label smoothing.
        accuracy: Share of images whose first class is right.
        top5_accuracy: Share whose class is among the first five; None with five classes or fewer.
        class_accuracy: Accuracy on each class's images; None for a class without any.
    """

    images: int
    loss: float
    accuracy: float
    top5_accuracy: float | None
    class_accuracy: tuple[float | None, ...]


class Meter:
    """Gathers loss and accuracy on the device; nothing is read back before it is asked for."""

    def __init__(self, classes: int, device: torch.device) -> None:
        # By default torchmetrics looks for NaN at every step and leaves it out. "disable" stops that, but in 1.9
        # it also makes MeanMetric forget its weights; so the mean is made of two sums.
        self.loss_sum = SumMetric(nan_strategy="disable").to(device)
        self.images = SumMetric(nan_strategy="disable").to(device)
        self.accuracy = MulticlassAccuracy(classes, average="micro").to(device)

    def update(self, loss: torch.Tensor, logits: torch.Tensor, targets: torch.Tensor) -> None:
        """Adds a batch: its mean loss, logits (N, classes), or (N, 1) of two classes, and targets (N)."""
        self.loss_sum.update(loss.detach() * len(targets))
        self.images.update(len(targets))
        self.accuracy.update(predicted_classes(logits.detach()), targets)

    def compute(self) -> tuple[float, float]:
        """Loss and accuracy so far."""
        return float(self.loss_sum.compute() / self.images.compute()), float(self.accuracy.compute())


class FullMeter(Meter):
    """A `Meter` that also tells top-5 and each class."""

    def __init__(self, classes: int, device: torch.device) -> None:
        super().__init__(classes, device)
        self.top5 = MulticlassAccuracy(classes, average="micro", top_k=TOP_K).to(device) if classes > TOP_K else None
        self.per_class = MulticlassAccuracy(classes, average="none").to(device)
        self.counts = torch.zeros(classes, dtype=torch.long, device=device)

    def update(self, loss: torch.Tensor, logits: torch.Tensor, targets: torch.Tensor) -> None:
        """Adds a batch, as `Meter.update`."""
        super().update(loss, logits, targets)
        if self.top5:
            self.top5.update(logits, targets)
        self.per_class.update(predicted_classes(logits), targets)
        self.counts += torch.bincount(targets, minlength=len(self.counts))

    def scores(self) -> Scores:
        """Everything gathered."""
        loss, accuracy = self.compute()
        per_class = zip(self.per_class.compute().tolist(), self.counts.tolist(), strict=True)
        return Scores(
            images=int(self.images.compute()),
            loss=loss,
            accuracy=accuracy,
            top5_accuracy=float(self.top5.compute()) if self.top5 else None,
            class_accuracy=tuple(value if count else None for value, count in per_class),
        )
