"""Groups are never divided, and shares are near what was asked."""

from collections import Counter

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from tl_toolkit.data.splits import grouped_sample, grouped_split
from tl_toolkit.sampling.grouping import Groups, divide_evenly
from tl_toolkit.training.cross_validation import FOLDS, assign_group_folds

CLASSES = 4
images = st.lists(st.tuples(st.integers(0, CLASSES - 1), st.integers(0, 11)), min_size=2, max_size=80)
labels = st.lists(st.tuples(st.sets(st.integers(0, CLASSES - 1)), st.integers(0, 11)), min_size=2, max_size=60)
shares = st.floats(0.02, 0.9)
seeds = st.integers(0, 5)


def parts_of(groups: list[str], indices: list[int]) -> set[str]:
    return {groups[index] for index in indices}


def check(groups: list[str], rest: list[int], taken: list[int]) -> None:
    assert sorted([*rest, *taken]) == list(range(len(groups)))
    assert taken == sorted(taken)
    assert not parts_of(groups, rest) & parts_of(groups, taken)


@given(images, shares, seeds)
def test_grouped_split_divides_no_group_and_leaves_every_class_in_train(
    drawn: list[tuple[int, int]], share: float, seed: int
) -> None:
    targets, groups = [target for target, _ in drawn], [f"g{group}" for _, group in drawn]
    rest, taken = grouped_split(targets, groups, share, seed)
    check(groups, rest, taken)
    assert {targets[index] for index in rest} == set(targets)
    shuffled = list(reversed(range(len(drawn))))
    again = grouped_split([targets[i] for i in shuffled], [groups[i] for i in shuffled], share, seed)
    assert parts_of([groups[i] for i in shuffled], again[1]) == parts_of(groups, taken)


@given(labels, shares, seeds)
def test_grouped_split_of_several_labels_divides_no_group(
    drawn: list[tuple[set[int], int]], share: float, seed: int
) -> None:
    rows = np.zeros((len(drawn), CLASSES), np.float32)
    for index, (classes, _) in enumerate(drawn):
        rows[index, list(classes)] = 1
    groups = [f"g{group}" for _, group in drawn]
    rest, taken = grouped_split(rows, groups, share, seed)
    check(groups, rest, taken)
    assert (rows[rest].any(axis=0) == rows.any(axis=0)).all()


@given(st.lists(st.tuples(st.integers(0, CLASSES - 1), st.integers(1, 5)), min_size=40, max_size=80), shares, seeds)
def test_grouped_split_takes_the_share_of_each_class_within_a_group(
    made: list[tuple[int, int]], share: float, seed: int
) -> None:
    targets = [target for target, size in made for _ in range(size)]
    groups = [f"g{number}" for number, (_, size) in enumerate(made) for _ in range(size)]
    _, taken = grouped_split(targets, groups, share, seed)
    found, total = Counter(targets[index] for index in taken), Counter(targets)
    having = Counter(target for target, _ in made)
    chosen = Counter(made[int(group[1:])][0] for group in parts_of(groups, taken))
    for target, count in total.items():
        if having[target] > 1 and count - 5 >= share * count:
            assert abs(found[target] - share * count) <= (5 if chosen[target] == 1 else 2.5)


@given(images, st.integers(1, 80), seeds)
def test_grouped_sample_divides_no_group_and_is_not_empty(drawn: list[tuple[int, int]], count: int, seed: int) -> None:
    targets, groups = [target for target, _ in drawn], [f"g{group}" for _, group in drawn]
    rest, taken = grouped_sample(targets, groups, min(count, len(drawn)), seed)
    check(groups, rest, taken)
    assert taken


@given(images)
def test_group_folds_divide_no_group_and_hold_out_no_class(drawn: list[tuple[int, int]]) -> None:
    targets, groups = [target for target, _ in drawn], [f"g{group}" for _, group in drawn]
    fold_of = divide_evenly(Groups.of(groups, targets), FOLDS)
    assert set(fold_of) == set(groups)
    for fold in range(FOLDS):
        kept = {target for target, group in zip(targets, groups, strict=True) if fold_of[group] != fold}
        assert kept == set(targets)
    if max(fold_of.values()) >= 0:
        folds = assign_group_folds(torch.tensor(targets), groups).tolist()
        assert folds == [fold_of[group] for group in groups]


@given(st.integers(2, 6), st.integers(10, 30))
def test_group_folds_of_equal_groups_are_equal(size: int, count: int) -> None:
    groups = [f"g{number}" for number in range(count) for _ in range(size)]
    fold_of = divide_evenly(Groups.of(groups, [0, 1] * (len(groups) // 2) + [0] * (len(groups) % 2)), FOLDS)
    sizes = Counter(fold_of.values())
    assert max(sizes.values()) - min(sizes.values()) <= 1
