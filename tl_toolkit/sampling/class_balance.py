"""Class imbalance: detection, weights for the loss, and an order that shows every class equally often."""

from collections.abc import Sequence

import torch

IMBALANCE = 10
"""Ratio of the largest class to the smallest from which a dataset is unbalanced: the mildest of the long-tailed
benchmarks (CIFAR-LT in Cao et al. 2019, "Learning imbalanced datasets with label-distribution-aware margin loss")."""


def is_unbalanced(counts: Sequence[int]) -> bool:
    """Return whether class sizes are far from equal, ignoring empty classes."""
    filled = [count for count in counts if count]
    return bool(filled) and max(filled) >= IMBALANCE * min(filled)


def balanced_weights(targets: Sequence[int], classes: int) -> torch.Tensor:
    """Return class weights (classes) in inverse proportion to the number of images.

    As scikit-learn's `class_weight="balanced"`: images / (classes * images of the class), with a mean of 1 over images.

    Args:
        targets: Class index of each image; every class must occur.
        classes: Number of classes.
    """
    counts = torch.bincount(torch.tensor(targets), minlength=classes)
    return len(targets) / (classes * counts.float())


def positive_weights(targets: torch.Tensor) -> torch.Tensor:
    """Return the weight of the images with each label (labels): those without it, divided by those with it.

    Both then count as much in the label's loss. The weight is 1 where one of the two is missing.

    Args:
        targets: 0 or 1 (N, labels).
    """
    positive = targets.sum(dim=0)
    weights = (len(targets) - positive) / positive
    return torch.where((positive > 0) & (positive < len(targets)), weights, torch.ones_like(weights))


def class_balanced_order(targets: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Return the indices of an epoch (N), in random order, that show every class equally often.

    Random classes get the remainder. The images of a class take turns, in a new order each time: none repeats before
    all were shown. torch's `WeightedRandomSampler` draws each image independently, so that classes are equally frequent
    only on average, and some images are left out by chance.

    Args:
        targets: Class index of each image (N).
        generator: Source of randomness.
    """
    counts = torch.bincount(targets)
    classes = torch.split(torch.argsort(targets, stable=True), counts[counts > 0].tolist())
    share, rest = divmod(len(targets), len(classes))
    extra = set(torch.randperm(len(classes), generator=generator)[:rest].tolist())
    order = torch.cat([_in_turns(images, share + (index in extra), generator) for index, images in enumerate(classes)])
    return order[torch.randperm(len(order), generator=generator)]


def _in_turns(members: torch.Tensor, count: int, generator: torch.Generator) -> torch.Tensor:
    """Return `count` of the members: random permutations of all of them, one after the other."""
    turns = -(-count // len(members))
    return torch.cat([members[torch.randperm(len(members), generator=generator)] for _ in range(turns)])[:count]


def occurrence_counts(order: torch.Tensor) -> torch.Tensor:
    """Return for each position of an order (N) how often its index occurred before."""
    by_index = torch.argsort(order, stable=True)
    firsts = torch.searchsorted(order[by_index], order[by_index])
    repeats = torch.empty_like(order)
    repeats[by_index] = torch.arange(len(order)) - firsts
    return repeats
