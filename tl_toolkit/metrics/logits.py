"""Classes and probabilities from logits (N, classes), or (N, 1) where one logit stands for two classes."""

import torch

from tl_toolkit.config.choices import Loss


def predicted_classes(logits: torch.Tensor) -> torch.Tensor:
    """Return the likeliest classes (N); a single logit of 0 or more means the second class."""
    return (logits[:, 0] >= 0).long() if logits.shape[1] == 1 else logits.argmax(dim=1)


def ranked_classes(logits: torch.Tensor, top_k: int) -> torch.Tensor:
    """Return the `top_k` likeliest classes (N, top_k), best first, or all where there are fewer."""
    if logits.shape[1] == 1:
        best = predicted_classes(logits)
        return torch.stack([best, 1 - best], dim=1)[:, :top_k]
    return logits.topk(min(top_k, logits.shape[1]), dim=1).indices


def probabilities(logits: torch.Tensor, loss: Loss) -> torch.Tensor:
    """Return probabilities (N, classes); after training with bce each class has its own, and the sum need not be 1."""
    if logits.shape[1] == 1:
        positive = logits.sigmoid()
        return torch.cat([1 - positive, positive], dim=1)
    return logits.sigmoid() if loss == "bce" else logits.softmax(dim=1)
