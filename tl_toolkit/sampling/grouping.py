"""Dividing images of which some belong together, such as those of a patient, so that no group is divided."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Labels = Sequence[int] | NDArray[np.bool_]
"""The class of each image, or its labels (N, classes)."""

NO_LABEL = -1
"""What images without any label count as."""

MOST_OF_A_CLASS = 0.5
"""The largest share of a class that goes to val only because a group there is better than none."""


@dataclass(frozen=True)
class Groups:
    """Groups of images.

    Attributes:
        members: The images of each group, by its name, in the order in which the names appear.
        counts: For each group, its images of each class.
    """

    members: dict[str, list[int]]
    counts: dict[str, Counter[int]]

    @classmethod
    def of(cls, names: Sequence[str], labels: Labels) -> "Groups":
        """Collect the images of each group.

        Args:
            names: The group of each image.
            labels: The labels of each image.
        """
        members: dict[str, list[int]] = {}
        for index, name in enumerate(names):
            members.setdefault(name, []).append(index)
        counts = {name: Counter(_classes(labels, indices)) for name, indices in members.items()}
        return cls(members, counts)

    def totals(self) -> Counter[int]:
        """Return the images of each class."""
        total: Counter[int] = Counter()
        for counts in self.counts.values():
            total.update(counts)
        return total

    def images(self, names: Sequence[str]) -> list[int]:
        """Return the images of some groups, ascending."""
        return sorted(index for name in names for index in self.members[name])


def take_share(groups: Groups, share: float, order: Sequence[str], keep_rest: bool) -> list[str]:
    """Choose groups that hold a share of each class as nearly as whole groups allow.

    Classes that few groups have come first, since later ones leave little choice. A group is taken if that brings the
    classes nearer to their share. A class that is left without an image gets one group, if that is not most of it.

    Args:
        groups: The groups.
        share: Between 0 and 1.
        order: Every group, in the order in which they are tried.
        keep_rest: Whether every class must keep an image in the groups that are not taken.

    Returns:
        The names of the groups taken; at least one, if any can be without taking a class from the rest.
    """
    taking = _Taking(groups, share, keep_rest)
    by_label: dict[int, list[str]] = {label: [] for label in taking.totals}
    for name in order:
        for label in groups.counts[name]:
            by_label[label].append(name)
    labels = sorted(by_label, key=lambda label: (len(by_label[label]), label))
    for label in labels:
        taking.fill(label, by_label[label])
    for label in labels:
        if not taking.got[label]:
            taking.cover(by_label[label])
    if not taking.taken and (candidates := [name for name in order if taking.fits(name)]):
        taking.take(min(candidates, key=taking.change))
    return list(taking.taken)


class _Taking:
    """Groups that are taken one by one; see `take_share`."""

    def __init__(self, groups: Groups, share: float, keep_rest: bool) -> None:
        self.counts = groups.counts
        self.totals = groups.totals()
        self.wanted = {label: share * count for label, count in self.totals.items()}
        self.keep_rest = keep_rest
        self.taken: dict[str, None] = {}
        self.got: Counter[int] = Counter()

    def take(self, name: str) -> None:
        """Take a group."""
        self.taken[name] = None
        self.got.update(self.counts[name])

    def change(self, name: str) -> float:
        """Return how much further from their shares the classes are with a group."""
        return _change(self.counts[name], self.got, self.wanted)

    def fits(self, name: str) -> bool:
        """Return whether a group can be taken."""
        if name in self.taken:
            return False
        return not self.keep_rest or all(
            self.got[label] + count < self.totals[label] for label, count in self.counts[name].items()
        )

    def fill(self, label: int, names: Sequence[str]) -> None:
        """Take groups until a class has its share, as far as each of them brings all classes nearer to theirs."""
        for name in names:
            if self.got[label] >= self.wanted[label]:
                return
            if self.fits(name) and self.change(name) < 0:
                self.take(name)

    def cover(self, names: Sequence[str]) -> None:
        """Take one group of a class, unless that would be most of a class that must stay."""
        fitting = [name for name in names if self.fits(name)]
        if fitting:
            best = min(fitting, key=self.change)
            if not self.keep_rest or all(
                self.got[label] + count <= max(1, MOST_OF_A_CLASS * self.totals[label])
                for label, count in self.counts[best].items()
            ):
                self.take(best)


def divide_evenly(groups: Groups, parts: int) -> dict[str, int]:
    """Divide groups into parts with as many images of each class as whole groups allow.

    Large groups come first, and each goes where it makes the parts most equal.

    Returns:
        The part of each group; -1 for one that alone has images of a class, since without it nothing is known of this.
    """
    totals = groups.totals()
    having = Counter(label for counts in groups.counts.values() for label in counts if label != NO_LABEL)
    wanted = {label: count / parts for label, count in totals.items()}
    got = [Counter[int]() for _ in range(parts)]
    found = dict.fromkeys(groups.members, -1)
    for name in sorted(groups.members, key=lambda name: -len(groups.members[name])):
        counts = groups.counts[name]
        if any(having[label] == 1 for label in counts if label != NO_LABEL):
            continue
        sizes = [sum(part.values()) for part in got]
        part = min(range(parts), key=lambda part: (_change(counts, got[part], wanted), sizes[part], part))
        found[name] = part
        got[part].update(counts)
    return found


def _change(counts: Mapping[int, int], got: Mapping[int, int], wanted: Mapping[int, float]) -> float:
    """Return how much further a part is from what it should have of each class if it gets a group."""
    return sum(
        ((got[label] + count - wanted[label]) ** 2 - (got[label] - wanted[label]) ** 2) / wanted[label]
        for label, count in counts.items()
    )


def _classes(labels: Labels, indices: Sequence[int]) -> list[int]:
    """Return the classes of some images, each as often as it occurs."""
    if not isinstance(labels, np.ndarray):
        return [labels[index] for index in indices]
    found: list[int] = np.nonzero(labels[np.asarray(indices)])[1].tolist()
    return [*found, *[NO_LABEL] * int((~labels[np.asarray(indices)].any(axis=1)).sum())]
