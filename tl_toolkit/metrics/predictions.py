"""What a model gives for the images of a split, beside the truth."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from tl_toolkit.config.choices import Loss, Task
from tl_toolkit.metrics.finite import check_finite
from tl_toolkit.metrics.logits import are_right, probabilities, ranked_classes, true_classes


@dataclass(frozen=True)
class Predictions:
    """Logits and targets of the images of a split, on the CPU.

    Attributes:
        logits: (N, classes), or (N, 1) where one logit stands for two classes; float32, not divided by a temperature.
        targets: Class indices (N), or rows (N, classes) of several labels or soft labels.
        names: The path or the number of each image.
        contents: A fingerprint of the content of each image, equal for equal images; empty where unknown.
        loss: The training loss, which determines how logits become probabilities.
        task: What the targets are.
        features: What arrives at the head (N, D), float32; None if it was not kept.
        map: The features in two dimensions (N, 2), float32; None if they were not projected.
    """

    logits: torch.Tensor
    targets: torch.Tensor
    names: Sequence[str]
    contents: Sequence[bytes | None] = ()
    loss: Loss = "cross-entropy"
    task: Task = "multi-class"
    features: torch.Tensor | None = None
    map: torch.Tensor | None = None

    def __len__(self) -> int:
        return len(self.targets)

    @functools.cached_property
    def predicted(self) -> torch.Tensor:
        """The likeliest class of each image (N)."""
        return ranked_classes(self.logits, 1)[:, 0]

    @functools.cached_property
    def true(self) -> torch.Tensor:
        """The class of each image (N); of rows, the one with the largest share."""
        return true_classes(self.targets)

    @functools.cached_property
    def right(self) -> torch.Tensor:
        """Whether each image is right (N): in its likeliest class, or with thresholds of 0.5 in all labels."""
        return are_right(self.logits, self.targets, self.task)

    def probabilities(self, temperature: float = 1.0) -> torch.Tensor:
        """Return the probability of each class (N, classes), of logits divided by a temperature."""
        return probabilities(self.logits / temperature, self.loss)


class PredictionKeeper:
    """Keeps the logits and targets of a split, and what arrives at the head, batch by batch.

    Args:
        names: The path or the number of each image, for messages.
    """

    def __init__(self, names: Sequence[str] = ()) -> None:
        self._names = names
        self._logits: list[torch.Tensor] = []
        self._targets: list[torch.Tensor] = []
        self._features: list[torch.Tensor] = []

    def add(self, logits: torch.Tensor, targets: torch.Tensor, features: torch.Tensor | None = None) -> None:
        """Add a batch: logits and targets as in `Predictions`, and the head's input (N, D)."""
        self._logits.append(logits)
        self._targets.append(targets)
        if features is not None:
            self._features.append(features)

    def check_finite(self) -> None:
        """Refuse logits from which nothing can be computed.

        Raises:
            TrainingError: Some are NaN or infinite.
        """
        if self._logits:
            finite = torch.cat([logits.isfinite().all(dim=1) for logits in self._logits])
            check_finite(finite.tolist(), self._names)

    def predictions(
        self, names: Sequence[str], contents: Sequence[bytes | None], loss: Loss, task: Task
    ) -> Predictions:
        """Return everything that was added, of images with these names and contents."""
        features = torch.cat(self._features).cpu() if self._features else None
        logits, targets = torch.cat(self._logits).cpu(), torch.cat(self._targets).cpu()
        return Predictions(logits, targets, names, contents, loss, task, features)
