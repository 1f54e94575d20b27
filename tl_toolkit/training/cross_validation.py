"""Cross-validated accuracy of a linear probe on stored features."""

import math
from dataclasses import dataclass

import torch
from torch import nn

from tl_toolkit.metrics.logits import predicted_classes
from tl_toolkit.training.losses import Criterion
from tl_toolkit.training.optimizers import LBFGS_RATES, LBFGSWithDecay

FOLDS = 5
STEPS = 6
"""Of L-BFGS for each fold, 30 iterations: what comes after them changes the accuracy by less than its error."""


@dataclass(frozen=True, slots=True)
class CrossValidation:
    """How often held-out images are recognised.

    Attributes:
        accuracy: As a fraction.
        images: That were held out, each once.
    """

    accuracy: float
    images: int

    @property
    def standard_error(self) -> float:
        """Of the accuracy, as the share of so many independent images."""
        return math.sqrt(self.accuracy * (1 - self.accuracy) / self.images)


def cross_validate(
    features: torch.Tensor, targets: torch.Tensor, outputs: int, criterion: Criterion
) -> CrossValidation:
    """Trains a probe on all folds but one, judges it on that one, and so for each.

    The only image of a class is never held out: nothing could be learned of its class.

    Args:
        features: (N, D), of any floating-point type.
        targets: Class indices (N).
        outputs: Logits: one for each class, or one for two.
        criterion: The loss.
    """
    features = features.float()
    fold = assign_folds(targets)
    right = sum(
        _held_out_right(features, targets, fold == number, outputs, criterion)
        for number in range(FOLDS)
        if bool((fold == number).any())
    )
    images = int((fold >= 0).sum())
    return CrossValidation(right / images, images)


def assign_folds(targets: torch.Tensor) -> torch.Tensor:
    """The fold of each image (N), every class spread over all folds; -1 for the only image of a class."""
    fold = torch.full_like(targets, -1)
    start = 0
    for target in torch.unique(targets):
        members = (targets == target).nonzero()[:, 0]
        if len(members) > 1:
            fold[members] = (torch.arange(len(members), device=targets.device) + start) % FOLDS
            start += len(members)  # Small classes do not all begin with the same fold.
    return fold


def _held_out_right(
    features: torch.Tensor, targets: torch.Tensor, held_out: torch.Tensor, outputs: int, criterion: Criterion
) -> int:
    head = nn.Linear(features.shape[1], outputs, device=features.device)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    optimizer = LBFGSWithDecay(list(head.parameters()), LBFGS_RATES.weight_decay)
    kept, kept_targets = features[~held_out], targets[~held_out]

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = criterion(head(kept), kept_targets)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    for _ in range(STEPS):
        optimizer.step(closure)
    with torch.no_grad():
        return int((predicted_classes(head(features[held_out])) == targets[held_out]).sum())
