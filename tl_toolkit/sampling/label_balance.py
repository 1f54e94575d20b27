"""Dividing images with several labels so that each part has its share of every label."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def divide_by_labels(
    labels: NDArray[np.bool_],
    wanted: NDArray[np.float64],
    sizes: Sequence[float],
    order: Sequence[int],
    exact: bool = False,
) -> NDArray[np.int64]:
    """Divide images into parts by iterative stratification.

    The label with the fewest images that are left comes first, since later ones leave little choice; each of its images
    goes to the part that lacks most of it (Sechidis, Tsoumakas and Vlahavas 2011, "On the stratification of multi-label
    data", ECML PKDD). Images without a label fill the parts last. No label loses its last image of part 0.

    Args:
        labels: The labels of each image (N, labels).
        wanted: Images of each label in each part (labels, parts).
        sizes: Images in each part.
        order: Every index, in the order in which the images of a label are taken.
        exact: Whether the sizes, which sum to N, come before the labels; else a part may get more for a rare label.

    Returns:
        The part of each image (N).
    """
    parts = np.full(len(labels), -1)
    lacking, room = wanted.astype(np.float64), np.asarray(sizes, np.float64)
    left = labels.sum(axis=0)
    for_first = left.copy()  # Images of each label that are in part 0, or may still be.
    ranks = np.empty(len(labels), np.int64)
    ranks[np.asarray(order, np.int64)] = np.arange(len(labels))
    while left.any():
        label = int(np.where(left > 0, left, np.iinfo(left.dtype).max).argmin())
        members = np.flatnonzero(labels[:, label] & (parts < 0))
        for image in members[np.argsort(ranks[members])]:
            own = np.flatnonzero(labels[image])
            part = _neediest(lacking[label], room, exact)
            if part and (for_first[own] <= 1).any() and (room[0] > 0 or not exact):
                part = 0
            parts[image] = part
            lacking[own, part] -= 1
            room[part] -= 1
            left[own] -= 1
            if part:
                for_first[own] -= 1
    for image in order:
        if parts[image] < 0:
            parts[image] = int(room.argmax())
            room[parts[image]] -= 1
    return parts


def _neediest(lacking: NDArray[np.float64], room: NDArray[np.float64], exact: bool) -> int:
    """Return the part that lacks most of a label, of several the one with most room; with `exact` one that has room."""
    candidates = [part for part in range(len(room)) if room[part] > 0 or not exact]
    best: int = max(candidates, key=lambda part: (lacking[part], room[part]))
    return best
