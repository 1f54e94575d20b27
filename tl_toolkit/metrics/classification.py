"""Loss and accuracies of a pass over a split."""

from dataclasses import dataclass

import torch

from tl_toolkit.metrics.logits import predicted_classes

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
    """Gathers loss and accuracy on the device; nothing is read back before it is asked for.

    Args:
        device: Where the batches are.
    """

    def __init__(self, device: torch.device) -> None:
        self.images = 0
        dtype = torch.float32 if device.type == "mps" else torch.float64  # which mps lacks
        self._loss = torch.zeros((), dtype=dtype, device=device)
        self._right = torch.zeros((), dtype=torch.long, device=device)

    def update(self, loss: torch.Tensor, logits: torch.Tensor, targets: torch.Tensor) -> None:
        """Adds a batch: its mean loss, logits (N, classes), or (N, 1) of two classes, and targets (N)."""
        self.images += len(targets)
        self._loss += loss * len(targets)
        self._right += (predicted_classes(logits) == targets).sum()

    def state(self) -> tuple[int, float, int]:
        """Everything gathered, as plain numbers: images, sum of their losses, and how many were right."""
        return self.images, float(self._loss), int(self._right)

    def restore(self, images: int, loss: float, right: int) -> None:
        """Goes on from a `state`."""
        self.images = images
        self._loss.fill_(loss)
        self._right.fill_(right)

    def compute(self) -> tuple[float, float]:
        """Loss and accuracy so far."""
        return float(self._loss) / self.images, int(self._right) / self.images


class ClassificationMeter(Meter):
    """A `Meter` that also tells top-5 and each class.

    Args:
        classes: Number of classes.
        device: Where the batches are.
    """

    def __init__(self, classes: int, device: torch.device) -> None:
        super().__init__(device)
        self._classes = classes
        self._top5 = torch.zeros((), dtype=torch.long, device=device)
        self._counts = torch.zeros(classes, dtype=torch.long, device=device)
        self._right_counts = torch.zeros(classes, dtype=torch.long, device=device)

    def update(self, loss: torch.Tensor, logits: torch.Tensor, targets: torch.Tensor) -> None:
        """Adds a batch, as `Meter.update`."""
        super().update(loss, logits, targets)
        if self._classes > TOP_K:
            self._top5 += (logits.topk(TOP_K, dim=1).indices == targets[:, None]).sum()
        right = predicted_classes(logits) == targets
        self._counts += torch.bincount(targets, minlength=self._classes)
        self._right_counts += torch.bincount(targets[right], minlength=self._classes)

    def scores(self) -> Scores:
        """Everything gathered."""
        loss, accuracy = self.compute()
        pairs = zip(self._right_counts.tolist(), self._counts.tolist(), strict=True)
        return Scores(
            images=self.images,
            loss=loss,
            accuracy=accuracy,
            top5_accuracy=int(self._top5) / self.images if self._classes > TOP_K else None,
            class_accuracy=tuple(right / count if count else None for right, count in pairs),
        )
