"""Parts of a split: val out of train, and samples."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from hashlib import blake2b


def stratified_split(
    targets: Sequence[int], names: Sequence[str], val_share: float, seed: int
) -> tuple[list[int], list[int]]:
    """Take the same share of every class for val.

    Within a class the images are ordered by a hash of seed and name, so that a new image moves at most one other across
    the split. A class of one image stays in train.

    Args:
        targets: Class index of each image.
        names: What identifies each image, independent of the place of the folder.
        val_share: Between 0 and 1.
        seed: Another seed gives another split.

    Returns:
        The indices of train and of val, each ascending.
    """
    counts = {
        target: min(max(1, round(len(members) * val_share)), len(members) - 1)
        for target, members in _by_class(targets).items()
    }
    return _divide(targets, names, counts, seed)


def stratified_sample(
    targets: Sequence[int], names: Sequence[str], count: int, seed: int
) -> tuple[list[int], list[int]]:
    """Take exactly `count` images, from every class in proportion.

    What rounding leaves over goes to the classes that lose most by it. The order within a class is that of
    `stratified_split`.

    Returns:
        The indices of the rest and of the sample, each ascending.
    """
    members = _by_class(targets)
    exact = {target: count * len(indices) / len(targets) for target, indices in members.items()}
    counts = {target: int(share) for target, share in exact.items()}
    by_loss = sorted(exact, key=lambda target: (counts[target] - exact[target], target))
    for target in by_loss[: count - sum(counts.values())]:
        counts[target] += 1
    return _divide(targets, names, counts, seed)


def _divide(
    targets: Sequence[int], names: Sequence[str], counts: Mapping[int, int], seed: int
) -> tuple[list[int], list[int]]:
    """Return the rest, and the first `counts` images of each class in the order of the hash."""
    taken: list[int] = []
    for target, members in _by_class(targets).items():
        taken += sorted(members, key=lambda index: _hash(seed, names[index]))[: counts[target]]
    chosen = set(taken)
    return [index for index in range(len(targets)) if index not in chosen], sorted(taken)


def _by_class(targets: Sequence[int]) -> dict[int, list[int]]:
    by_class: defaultdict[int, list[int]] = defaultdict(list)
    for index, target in enumerate(targets):
        by_class[target].append(index)
    return by_class


def _hash(seed: int, name: str) -> bytes:
    return blake2b(f"{seed}/{name}".encode(errors="surrogateescape"), digest_size=16).digest()
