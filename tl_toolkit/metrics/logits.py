"""Classes and probabilities from logits (N, classes), or (N, 1) where one logit stands for two classes."""

import torch

from tl_toolkit.config.choices import Loss, Task
from tl_toolkit.metrics.array_logits import EVEN as EVEN


def predicted_classes(logits: torch.Tensor) -> torch.Tensor:
    """Return the likeliest classes (N); a single logit of 0 or more means the second class."""
    return (logits[:, 0] >= 0).long() if logits.shape[1] == 1 else logits.argmax(dim=1)


def ranked_classes(logits: torch.Tensor, top_k: int) -> torch.Tensor:
    """Return the `top_k` likeliest classes (N, top_k), best first, or all where there are fewer."""
    if logits.shape[1] == 1:
        best = predicted_classes(logits)
        return torch.stack([best, 1 - best], dim=1)[:, :top_k]
    return logits.topk(min(top_k, logits.shape[1]), dim=1).indices


def true_classes(targets: torch.Tensor) -> torch.Tensor:
    """Return class indices (N): the targets themselves, or of rows (N, classes) the class with the largest share."""
    return targets if targets.ndim == 1 else targets.argmax(dim=1)


def predicted_labels(logits: torch.Tensor, thresholds: torch.Tensor | None = None) -> torch.Tensor:
    """Return which labels images are given (N, classes): those whose probability is at least their threshold."""
    return logits.sigmoid() >= (EVEN if thresholds is None else thresholds)


def are_right(logits: torch.Tensor, targets: torch.Tensor, task: Task) -> torch.Tensor:
    """Return which images are right (N): in the likeliest class, or with thresholds of 0.5 in all labels."""
    if task == "multi-label":
        return (predicted_labels(logits) == (targets > 0)).all(dim=1)
    return predicted_classes(logits) == true_classes(targets)


def probabilities(logits: torch.Tensor, loss: Loss) -> torch.Tensor:
    """Return probabilities (N, classes); after training with bce each class has its own, and the sum need not be 1."""
    if logits.shape[1] == 1:
        positive = logits.sigmoid()
        return torch.cat([1 - positive, positive], dim=1)
    return logits.sigmoid() if loss == "bce" else logits.softmax(dim=1)
