"""Loss and accuracy while training."""

import torch

from tl_toolkit.config.choices import Task
from tl_toolkit.metrics.logits import are_right


def loss_sum(device: torch.device) -> torch.Tensor:
    """Return a zero to add losses to."""
    dtype = torch.float32 if device.type == "mps" else torch.float64  # which mps lacks
    return torch.zeros((), dtype=dtype, device=device)


class Meter:
    """Two counters on the device, loss and accuracy, which nothing reads back before `compute`.

    Args:
        device: Device of the batches.
    """

    def __init__(self, device: torch.device) -> None:
        self.images = 0
        self._loss = loss_sum(device)
        self._correct = torch.zeros((), dtype=torch.long, device=device)

    def update(
        self, loss: torch.Tensor, logits: torch.Tensor, targets: torch.Tensor, task: Task = "multi-class"
    ) -> None:
        """Add a batch: its mean loss, logits (N, classes) or (N, 1) of two classes, and targets of a task."""
        self.images += len(targets)
        self._loss += loss * len(targets)
        self._correct += are_right(logits, targets, task).sum()

    def add_share(self, loss: torch.Tensor, logits: torch.Tensor, targets: torch.Tensor, task: Task) -> None:
        """Add a share of a batch: the sum of its losses, and logits and targets as in `update`."""
        self.images += len(targets)
        self._loss += loss
        self._correct += are_right(logits, targets, task).sum()

    def add(self, other: "Meter") -> None:
        """Add what another meter counted."""
        self.images += other.images
        self._loss += other._loss
        self._correct += other._correct

    def sums(self) -> torch.Tensor:
        """Return images, sum of their losses and number of correct ones as a tensor (3) on the device."""
        images = torch.full_like(self._loss, self.images)
        return torch.stack([images, self._loss, self._correct.to(self._loss.dtype)])

    def state(self) -> tuple[int, float, int]:
        """Return plain numbers: images, sum of their losses, number of correct ones."""
        return self.images, float(self._loss), int(self._correct)

    def restore(self, images: int, loss: float, correct: int) -> None:
        """Continue from a `state`."""
        self.images = images
        self._loss.fill_(loss)
        self._correct.fill_(correct)

    def compute(self) -> tuple[float, float]:
        """Return loss and accuracy so far."""
        return float(self._loss) / self.images, int(self._correct) / self.images
