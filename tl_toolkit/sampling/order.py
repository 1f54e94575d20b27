"""The order of an epoch: of all images at random, of every class equally often, or of a few shards at a time."""

import torch

from tl_toolkit.sampling.class_balance import class_balanced_order

ORDER, SHUFFLED, BY_SHARD = "order of images", "shuffled", "by shard"
"""What a run that resumes must not change; runs without shards have no note of it."""

BUFFER_SHARDS = 4
"""Shards that are mixed with each other at any time. More mix better, and take more of the cache of remote files."""

BUFFER_SAMPLES = 4096
"""Samples that are mixed at least: shards may be small."""


def epoch_order(
    count: int, generator: torch.Generator, balance: torch.Tensor | None = None, shards: torch.Tensor | None = None
) -> torch.Tensor:
    """Return the indices of an epoch (count), in random order.

    Args:
        count: Number of samples.
        generator: Source of randomness.
        balance: Class index of each sample (count), to show all classes equally often; see `class_balanced_order`. Of
            samples in shards these are the same draws, each taken when its shard has its turn.
        shards: The shard of each sample (count), if samples of a shard are quick to read together; see `shard_order`.
    """
    if balance is None:
        return torch.randperm(count, generator=generator) if shards is None else shard_order(shards, generator)
    order = class_balanced_order(balance, generator)
    return order if shards is None else order[shard_order(shards[order], generator)]


def shard_order(shards: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Return the indices of all samples (N), in a random order that reads only a few shards at a time.

    As if a buffer were filled from the shards, one after the other in random order, and samples were taken out of it at
    random. This is a permutation of indices, so that it can be read from any place on without what comes before, and
    all samples are shuffled with each other if the buffer holds them.

    Args:
        shards: The shard of each sample (N), any integers.
        generator: Source of randomness.
    """
    _, shards, counts = torch.unique(shards, return_inverse=True, return_counts=True)
    turn = torch.randperm(len(counts), generator=generator)
    in_turn = torch.argsort(turn[shards], stable=True)
    length = buffer_length(counts)
    filled = torch.arange(len(shards), dtype=torch.float64).clamp(min=length)  # When each sample is in the buffer.
    taken = filled + length * torch.rand(len(shards), dtype=torch.float64, generator=generator)
    return in_turn[torch.argsort(taken, stable=True)]


def buffer_length(counts: torch.Tensor) -> int:
    """Return the samples of the buffer: those of a few shards of mean size, and no fewer than some thousand.

    Args:
        counts: Number of samples of each shard.
    """
    mean = -(-int(counts.sum()) // max(1, len(counts)))
    return max(BUFFER_SAMPLES, BUFFER_SHARDS * mean)
