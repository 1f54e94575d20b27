"""Cross-validated accuracy of a linear probe on stored features."""

import math
from dataclasses import dataclass

import torch
from torch import nn

from tl_toolkit.metrics.logits import predicted_classes
from tl_toolkit.training.losses import Criterion
from tl_toolkit.training.optimizers import LBFGS_DEFAULTS, LBFGSWithDecay

FOLDS = 5
STEPS = 6
"""L-BFGS steps for each fold, 30 iterations: more of them change the accuracy by less than its error."""


@dataclass(frozen=True, slots=True)
class CrossValidation:
    """The accuracy on held-out images.

    Attributes:
        accuracy: A fraction.
        images: Number of held-out images, each counted once.
    """

    accuracy: float
    images: int

    @property
    def standard_error(self) -> float:
        """Standard error of the accuracy, as the mean of independent images."""
        return math.sqrt(self.accuracy * (1 - self.accuracy) / self.images)


def cross_validate(
    features: torch.Tensor, targets: torch.Tensor, outputs: int, criterion: Criterion
) -> CrossValidation:
    """Train a probe on all folds but one, evaluate it on that fold, and repeat for each fold.

    The only image of a class is never held out, since nothing could be learned of its class.

    Args:
        features: (N, D), of any floating-point type.
        targets: Class indices (N).
        outputs: Number of logits: one for each class, or one for two classes.
        criterion: The loss.
    """
    features = features.float()
    folds = assign_folds(targets)
    correct = sum(
        _count_correct(features, targets, folds == fold, outputs, criterion)
        for fold in range(FOLDS)
        if bool((folds == fold).any())
    )
    images = int((folds >= 0).sum())
    return CrossValidation(correct / images, images)


def assign_folds(targets: torch.Tensor) -> torch.Tensor:
    """Return the fold of each image (N), every class spread over all folds; -1 for the only image of a class."""
    folds = torch.full_like(targets, -1)
    start = 0
    for target in torch.unique(targets):
        members = (targets == target).nonzero()[:, 0]
        if len(members) > 1:
            folds[members] = (torch.arange(len(members), device=targets.device) + start) % FOLDS
            start += len(members)  # Otherwise all small classes would begin with the same fold.
    return folds


def _count_correct(
    features: torch.Tensor, targets: torch.Tensor, held_out: torch.Tensor, outputs: int, criterion: Criterion
) -> int:
    """Train a probe on all images but the held-out ones, and count how many of these it classifies correctly."""
    head = nn.Linear(features.shape[1], outputs, device=features.device)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    optimizer = LBFGSWithDecay(list(head.parameters()), LBFGS_DEFAULTS.weight_decay)
    inputs, labels = features[~held_out], targets[~held_out]

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = criterion(head(inputs), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    for _ in range(STEPS):
        optimizer.step(closure)
    with torch.no_grad():
        return int((predicted_classes(head(features[held_out])) == targets[held_out]).sum())
