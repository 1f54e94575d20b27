"""Keyed randomness: it depends on keys, not on the order of draws."""

from collections.abc import Sequence
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray


def seed_from(*key: int) -> int:
    """Return a 63-bit seed that depends on every number of `key`."""
    digest = blake2b(",".join(map(str, key)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def keyed_uniform(key: tuple[int, ...], indices: Sequence[int], count: int) -> NDArray[np.float64]:
    """Return random numbers in [0, 1), (len(indices), count); a row depends only on `key` and its index.

    They are those of SplitMix64 (Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators"), which
    computes any position of its sequence directly.

    Args:
        key: Key of the sequence.
        indices: Index of each row.
        count: Numbers in a row.
    """
    positions = np.asarray(indices, np.uint64)[:, None] * np.uint64(count) + np.arange(1, count + 1, dtype=np.uint64)
    mixed: Any = positions * np.uint64(0x9E3779B97F4A7C15) + np.asarray([seed_from(*key)], np.uint64)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed ^= mixed >> np.uint64(31)
    uniform: NDArray[np.float64] = (mixed >> np.uint64(11)) / 2.0**53
    return uniform
