"""Parts of a split: val out of train, and samples."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from tl_toolkit.data.targets import Targets, strata
from tl_toolkit.sampling.grouping import Groups, take_share
from tl_toolkit.sampling.label_balance import divide_by_labels


def stratified_split(
    targets: Targets, names: Sequence[str], val_share: float, seed: int
) -> tuple[list[int], list[int]]:
    """Take the same share of every class for val.

    Within a class the images are ordered by a hash of seed and name, so that a new image moves at most one other across
    the split. A class of one image stays in train.

    With several labels an image, the share of every label is as near to that as its images allow, and train keeps an
    image of every label; a new image may then move others. Soft labels count as the class with the largest share.

    Args:
        targets: The target of each image.
        names: What identifies each image, independent of the place of the folder.
        val_share: Between 0 and 1.
        seed: Another seed gives another split.

    Returns:
        The indices of train and of val, each ascending.
    """
    groups = strata(targets)
    if isinstance(groups, np.ndarray):
        counts = groups.sum(axis=0)
        taken = np.minimum(np.maximum(1, np.rint(counts * val_share)), np.maximum(counts - 1, 0))
        return _divide_labels(groups, names, taken, max(1, round(len(names) * val_share)), seed, exact=False)
    shares = {
        target: min(max(1, round(len(members) * val_share)), len(members) - 1)
        for target, members in _by_class(groups).items()
    }
    return _divide(groups, names, shares, seed)


def stratified_sample(targets: Targets, names: Sequence[str], count: int, seed: int) -> tuple[list[int], list[int]]:
    """Take exactly `count` images, from every class in proportion.

    What rounding leaves over goes to the classes that lose most by it. The order within a class is that of
    `stratified_split`. With several labels an image, every label is in proportion as nearly as its images allow.

    Returns:
        The indices of the rest and of the sample, each ascending.
    """
    groups = strata(targets)
    if isinstance(groups, np.ndarray):
        return _divide_labels(groups, names, groups.sum(axis=0) * (count / len(names)), count, seed, exact=True)
    members = _by_class(groups)
    exact = {target: count * len(indices) / len(targets) for target, indices in members.items()}
    counts = {target: int(share) for target, share in exact.items()}
    by_loss = sorted(exact, key=lambda target: (counts[target] - exact[target], target))
    for target in by_loss[: count - sum(counts.values())]:
        counts[target] += 1
    return _divide(groups, names, counts, seed)


def grouped_split(targets: Targets, groups: Sequence[str], share: float, seed: int) -> tuple[list[int], list[int]]:
    """Take whole groups for val, with as near the same share of every class as they allow.

    Groups are tried in the order of a hash of seed and name. Train keeps an image of every class. Val gets a group of
    every class that has several, unless that would be most of the class.

    Args:
        targets: The target of each image.
        groups: The group of each image.
        share: Between 0 and 1.
        seed: Another seed gives another split.

    Returns:
        The indices of train and of val, each ascending; val is empty if no group can leave train.
    """
    return _divide_groups(targets, groups, share, seed, keep_rest=True)


def grouped_sample(targets: Targets, groups: Sequence[str], count: int, seed: int) -> tuple[list[int], list[int]]:
    """Take whole groups with about `count` images, from every class in proportion as nearly as they allow.

    Returns:
        The indices of the rest and of the sample, each ascending.
    """
    return _divide_groups(targets, groups, count / len(groups), seed, keep_rest=False)


def _divide_groups(
    targets: Targets, names: Sequence[str], share: float, seed: int, keep_rest: bool
) -> tuple[list[int], list[int]]:
    groups = Groups.of(names, strata(targets))
    order = sorted(groups.members, key=lambda name: _hash(seed, name))
    chosen = groups.images(take_share(groups, share, order, keep_rest))
    taken = set(chosen)
    return [index for index in range(len(names)) if index not in taken], chosen


def _divide(
    targets: Sequence[int], names: Sequence[str], counts: Mapping[int, int], seed: int
) -> tuple[list[int], list[int]]:
    """Return the rest, and the first `counts` images of each class in the order of the hash."""
    taken: list[int] = []
    for target, members in _by_class(targets).items():
        taken += sorted(members, key=lambda index: _hash(seed, names[index]))[: counts[target]]
    chosen = set(taken)
    return [index for index in range(len(targets)) if index not in chosen], sorted(taken)


def _divide_labels(
    labels: NDArray[np.bool_], names: Sequence[str], taken: NDArray[np.float64], size: int, seed: int, exact: bool
) -> tuple[list[int], list[int]]:
    """Return the rest and `size` images, with `taken` of each label."""
    order = sorted(range(len(names)), key=lambda index: _hash(seed, names[index]))
    wanted = np.stack([labels.sum(axis=0) - taken, taken], axis=1)
    parts = divide_by_labels(labels, wanted, (len(names) - size, size), order, exact)
    return np.flatnonzero(parts == 0).tolist(), np.flatnonzero(parts == 1).tolist()


def _by_class(targets: Sequence[int]) -> dict[int, list[int]]:
    by_class: defaultdict[int, list[int]] = defaultdict(list)
    for index, target in enumerate(targets):
        by_class[target].append(index)
    return by_class


def _hash(seed: int, name: str) -> bytes:
    return blake2b(f"{seed}/{name}".encode(errors="surrogateescape"), digest_size=16).digest()
