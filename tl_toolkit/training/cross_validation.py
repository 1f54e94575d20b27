"""Cross-validated accuracy of a linear probe on stored features; of several labels, mean average precision."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from tl_toolkit.config.choices import Task
from tl_toolkit.errors import DataError
from tl_toolkit.metrics.base import ScoreMeter
from tl_toolkit.metrics.logits import true_classes
from tl_toolkit.sampling.grouping import Groups, divide_evenly
from tl_toolkit.sampling.label_balance import divide_by_labels
from tl_toolkit.text import named
from tl_toolkit.training.loop import TRAINING_METRICS
from tl_toolkit.training.losses import Criterion
from tl_toolkit.training.optimizers import LBFGS_DEFAULTS, LBFGS_LABELS_DECAY, LBFGSWithDecay

FOLDS = 5
STEPS = 6
"""L-BFGS steps for each fold, 30 iterations: more of them change the accuracy by less than its error."""


@dataclass(frozen=True, slots=True)
class CrossValidation:
    """The accuracy on held-out images.

    Attributes:
        accuracy: A fraction. Of several labels, of the images whose labels are all right with thresholds of 0.5.
        images: Number of held-out images, each counted once.
        mean_average_precision: As a fraction, of several labels an image; else None.
        mean_average_precision_error: Its standard error.
    """

    accuracy: float
    images: int
    mean_average_precision: float | None = None
    mean_average_precision_error: float | None = None

    @property
    def score(self) -> float:
        """What probes are compared by."""
        return self.accuracy if self.mean_average_precision is None else self.mean_average_precision

    @property
    def standard_error(self) -> float:
        """Standard error of the score: of the accuracy as the mean of independent images."""
        if self.mean_average_precision_error is not None:
            return self.mean_average_precision_error
        return math.sqrt(self.accuracy * (1 - self.accuracy) / self.images)


def cross_validate(
    features: torch.Tensor,
    targets: torch.Tensor,
    outputs: int,
    criterion: Criterion,
    task: Task = "multi-class",
    groups: Sequence[str] = (),
) -> CrossValidation:
    """Train a probe on all folds but one, evaluate it on that fold, and repeat for each fold.

    The only image of a class is never held out, since nothing could be learned of its class.

    Args:
        features: (N, D), of any floating-point type.
        targets: Class indices (N), or rows of numbers (N, classes).
        outputs: Number of logits: one for each class, or one for two classes.
        criterion: The loss.
        task: What the targets are.
        groups: For each image, what is in one fold as a whole; empty if nothing is.

    Raises:
        DataError: Each group alone has images of a class.
    """
    meter = ScoreMeter(max(2, outputs), features.device, TRAINING_METRICS[task], task)
    for held_out, logits in held_out_logits(features, targets, outputs, criterion, task, groups):
        meter.update(torch.zeros(()), logits, targets[held_out])
    scores = meter.compute()
    mean, error = (scores.values.get(f"mean_average_precision{end}") for end in ("", "_error"))
    assert not isinstance(mean, tuple)
    assert not isinstance(error, tuple)
    return CrossValidation(scores.accuracy, scores.images, mean, error)


def held_out_logits(
    features: torch.Tensor,
    targets: torch.Tensor,
    outputs: int,
    criterion: Criterion,
    task: Task = "multi-class",
    groups: Sequence[str] = (),
    steps: int = STEPS,
    learned: torch.Tensor | None = None,
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Train a probe on all folds but one, and yield what it gives for the images of that fold, for each fold.

    Args:
        features: See `cross_validate`.
        targets: See `cross_validate`.
        outputs: See `cross_validate`.
        criterion: See `cross_validate`.
        task: See `cross_validate`.
        groups: See `cross_validate`.
        steps: L-BFGS steps for each fold.
        learned: Which images the probes may learn from (N); by default all.

    Yields:
        Which images are in the fold (N), and their logits.

    Raises:
        DataError: Each group alone has images of a class.
    """
    features = features.float()
    folds = assign_group_folds(targets, groups, task) if groups else assign_folds(targets, task)
    decay = LBFGS_LABELS_DECAY if task == "multi-label" else LBFGS_DEFAULTS.weight_decay
    for fold in range(FOLDS):
        held_out = folds == fold
        if bool(held_out.any()):
            trained = ~held_out if learned is None else ~held_out & learned
            yield held_out, _probe_logits(features, targets, held_out, trained, outputs, criterion, decay, steps)


def assign_folds(targets: torch.Tensor, task: Task = "multi-class", count: int = FOLDS) -> torch.Tensor:
    """Return the fold of each image (N), every class spread over all folds; -1 for the only image of a class."""
    if task == "multi-label":
        labels = targets.cpu().numpy() > 0
        wanted = np.repeat(labels.sum(axis=0)[:, None] / count, count, axis=1)
        parts = divide_by_labels(labels, wanted, [len(labels) / count] * count, range(len(labels)))
        return torch.from_numpy(parts).to(targets.device)
    targets = true_classes(targets)
    folds = torch.full_like(targets, -1)
    start = 0
    for target in torch.unique(targets):
        members = (targets == target).nonzero()[:, 0]
        if len(members) > 1:
            folds[members] = (torch.arange(len(members), device=targets.device) + start) % count
            start += len(members)  # Otherwise all small classes would begin with the same fold.
    return folds


def assign_group_folds(
    targets: torch.Tensor, groups: Sequence[str], task: Task = "multi-class", count: int = FOLDS
) -> torch.Tensor:
    """Return the fold of each image (N), the same for all of a group; -1 for a group that alone has a class.

    Raises:
        DataError: That is so of each group.
    """
    labels = targets.cpu().numpy() > 0 if task == "multi-label" else true_classes(targets).tolist()
    fold_of = divide_evenly(Groups.of(groups, labels), count)
    if max(fold_of.values()) < 0:
        raise DataError(
            "Each group of train is the only one with images of some class: networks cannot be judged by groups that "
            f"they have not seen. Name a network: {named('arch', 'resnet18')}."
        )
    return torch.tensor([fold_of[group] for group in groups], device=targets.device)


def _probe_logits(
    features: torch.Tensor,
    targets: torch.Tensor,
    held_out: torch.Tensor,
    trained: torch.Tensor,
    outputs: int,
    criterion: Criterion,
    decay: float,
    steps: int,
) -> torch.Tensor:
    """Train a probe on some images, and return its logits of the held-out ones."""
    head = nn.Linear(features.shape[1], outputs, device=features.device)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    optimizer = LBFGSWithDecay(list(head.parameters()), decay)
    inputs, labels = features[trained], targets[trained]

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = criterion(head(inputs), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    for _ in range(steps):
        optimizer.step(closure)
    with torch.no_grad():
        logits: torch.Tensor = head(features[held_out])
    return logits
