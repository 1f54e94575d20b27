"""A val split out of train."""

from collections import defaultdict
from collections.abc import Sequence
from hashlib import blake2b


def stratified_split(
    targets: Sequence[int], names: Sequence[str], val_share: float, seed: int
) -> tuple[list[int], list[int]]:
    """Takes the same share of every class for val.

    Within a class the images are ordered by a hash of seed and name, so that an image that is added
    moves at most one other one across the split. A class of one image stays in train.

    Args:
        targets: Class index of each image.
        names: What identifies each image; should not depend on where the folder lies.
        val_share: Between 0 and 1.
        seed: Another seed gives another split.

    Returns:
        The indices of train and of val, each ascending.
    """
    by_class: defaultdict[int, list[int]] = defaultdict(list)
    for index, target in enumerate(targets):
        by_class[target].append(index)
    val: list[int] = []
    for members in by_class.values():
        count = min(max(1, round(len(members) * val_share)), len(members) - 1)
        val += sorted(members, key=lambda index: _draw(seed, names[index]))[:count]
    chosen = set(val)
    return [index for index in range(len(targets)) if index not in chosen], sorted(val)


def _draw(seed: int, name: str) -> bytes:
    return blake2b(f"{seed}/{name}".encode(errors="surrogateescape"), digest_size=16).digest()
