"""What logits say: for one logit for each class, and for one logit that tells two classes apart."""

import torch

from tl_toolkit.config.choices import Loss


def predicted_classes(logits: torch.Tensor) -> torch.Tensor:
    """The likeliest class (N) of logits (N, C); a single logit says the second class from 0 on."""
    return (logits[:, 0] >= 0).long() if logits.shape[1] == 1 else logits.argmax(dim=1)


def ranked_classes(logits: torch.Tensor, top_k: int) -> torch.Tensor:
    """The `top_k` likeliest classes (N, top_k), best first, or all where there are fewer."""
    if logits.shape[1] == 1:
        best = predicted_classes(logits)
        return torch.stack([best, 1 - best], dim=1)[:, :top_k]
    return logits.topk(min(top_k, logits.shape[1]), dim=1).indices


def probabilities(logits: torch.Tensor, loss: Loss) -> torch.Tensor:
    """Of every class (N, classes); after training with bce each stands for itself, and they need not sum to 1."""
    if logits.shape[1] == 1:
        positive = logits.sigmoid()
        return torch.cat([1 - positive, positive], dim=1)
    return logits.sigmoid() if loss == "bce" else logits.softmax(dim=1)
