"""Classes of unequal size: how unequal they are, weights for the loss, and an order that shows each as often."""

from collections.abc import Sequence

import torch

IMBALANCE = 10
"""Largest class by smallest from which a dataset is called unbalanced: the mildest factor of the long-tailed benchmarks
(CIFAR-LT in Cao et al. 2019, "Learning imbalanced datasets with label-distribution-aware margin loss")."""


def is_unbalanced(counts: Sequence[int]) -> bool:
    """Whether classes of these sizes are far from equal; empty ones are passed over."""
    filled = [count for count in counts if count]
    return bool(filled) and max(filled) >= IMBALANCE * min(filled)


def balanced_weights(targets: Sequence[int], classes: int) -> torch.Tensor:
    """A weight for each class (classes), in inverse proportion to its number of images.

    They are those of scikit-learn's `class_weight="balanced"`: images / (classes * images of the class), so that the
    mean over the images is 1.

    Args:
        targets: Class index of each image; every class must have one.
        classes: Number of classes.
    """
    counts = torch.bincount(torch.tensor(targets), minlength=classes)
    return len(targets) / (classes * counts.float())


def class_balanced_order(targets: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Indices of an epoch (N) that show each class as often, in random order.

    What does not divide evenly goes to classes drawn by lot. A class's images come in turns, each time in another
    order: none is shown again before all of them were. Drawing each image by itself, as torch's
    `WeightedRandomSampler` does, shows a class as often on average alone, and leaves out some images by chance.

    Args:
        targets: Class index of each image (N).
        generator: Draws.
    """
    counts = torch.bincount(targets)
    classes = torch.split(torch.argsort(targets, stable=True), counts[counts > 0].tolist())
    share, rest = divmod(len(targets), len(classes))
    lucky = set(torch.randperm(len(classes), generator=generator)[:rest].tolist())
    drawn = [_in_turns(members, share + (index in lucky), generator) for index, members in enumerate(classes)]
    order = torch.cat(drawn)
    return order[torch.randperm(len(order), generator=generator)]


def _in_turns(members: torch.Tensor, count: int, generator: torch.Generator) -> torch.Tensor:
    """`count` of the members, by one random order of all of them after the other."""
    turns = -(-count // len(members))
    return torch.cat([members[torch.randperm(len(members), generator=generator)] for _ in range(turns)])[:count]


def occurrence_counts(order: torch.Tensor) -> torch.Tensor:
    """For each place of an order (N), how many times its index came before."""
    by_index = torch.argsort(order, stable=True)
    firsts = torch.searchsorted(order[by_index], order[by_index])
    repeats = torch.empty_like(order)
    repeats[by_index] = torch.arange(len(order)) - firsts
    return repeats
