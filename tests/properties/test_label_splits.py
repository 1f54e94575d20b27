import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tl_toolkit.data.splits import stratified_sample, stratified_split
from tl_toolkit.training.cross_validation import FOLDS, assign_folds

LABELS = st.integers(1, 8).flatmap(
    lambda labels: st.lists(st.sets(st.integers(0, labels - 1)), min_size=2, max_size=60).map(
        lambda images: np.array([[index in image for index in range(labels)] for image in images], np.float32)
    )
)
SEEDS = st.integers(0, 2**32 - 1)


def names_of(rows: NDArray[np.float32]) -> list[str]:
    return [f"{index}.jpg" for index in range(len(rows))]


@given(rows=LABELS, share=st.floats(0.05, 0.5), seed=SEEDS)
def test_split_divides_all_images_and_leaves_train_every_label(rows: NDArray[np.float32], share: float, seed: int):
    train, val = stratified_split(rows, names_of(rows), share, seed)
    assert sorted(train + val) == list(range(len(rows)))
    assert train == sorted(train)
    assert val == sorted(val)
    there = rows.sum(axis=0) > 0
    assert (rows[train].sum(axis=0)[there] > 0).all()


def test_split_leaves_train_a_label_whose_images_others_would_have_in_val():
    rows = np.array([[0, 1, 0, 1, 0], [1, 0, 1, 0, 0], [0, 0, 1, 0, 1], [0, 0, 0, 1, 1]], np.float32)
    train = stratified_split(rows, names_of(rows), 0.4, seed=0)[0]
    assert rows[train].any(axis=0).all()


@given(targets=st.lists(st.integers(0, 5), min_size=2, max_size=80), share=st.floats(0.05, 0.5), seed=SEEDS)
def test_split_of_one_label_each_has_as_many_of_every_label_as_that_of_classes(
    targets: list[int], share: float, seed: int
):
    rows = np.eye(6, dtype=np.float32)[targets]
    val = stratified_split(rows, names_of(rows), share, seed)[1]
    of_classes = stratified_split(targets, names_of(rows), share, seed)[1]
    assert rows[val].sum(axis=0).tolist() == rows[of_classes].sum(axis=0).tolist()


@given(rows=LABELS, seed=SEEDS, order=st.randoms(use_true_random=False))
def test_split_of_labels_does_not_depend_on_the_order_of_the_images(
    rows: NDArray[np.float32], seed: int, order: object
):
    places = list(range(len(rows)))
    order.shuffle(places)  # type: ignore[attr-defined]  # a random.Random
    names = names_of(rows)
    val = {names[index] for index in stratified_split(rows, names, 0.3, seed)[1]}
    shuffled = stratified_split(rows[places], [names[index] for index in places], 0.3, seed)[1]
    assert {names[places[index]] for index in shuffled} == val


@given(rows=LABELS, seed=SEEDS, data=st.data())
def test_sample_of_labels_has_exactly_as_many_images(rows: NDArray[np.float32], seed: int, data: st.DataObject):
    count = data.draw(st.integers(1, len(rows)))
    rest, sample = stratified_sample(rows, names_of(rows), count, seed)
    assert len(sample) == count
    assert sorted(rest + sample) == list(range(len(rows)))


@given(rows=LABELS)
def test_folds_hold_every_image_once(rows: NDArray[np.float32]):
    import torch

    folds = assign_folds(torch.from_numpy(rows), "multi-label")
    assert folds.shape == (len(rows),)
    assert set(folds.tolist()) <= set(range(FOLDS))


def test_split_keeps_rare_labels_on_both_sides_better_than_chance():
    random = np.random.default_rng(0)
    frequency = 1 / np.arange(1, 81)
    frequency /= frequency.sum()
    rows = np.zeros((2000, 80), np.float32)
    for row in rows:
        row[random.choice(80, random.poisson(3), p=frequency)] = 1
    count = rows.sum(axis=0)
    val = stratified_split(rows, names_of(rows), 0.1, seed=0)[1]
    drawn = random.permutation(2000)[: len(val)]
    assert abs(len(val) - 200) <= 10
    assert (rows[val].sum(axis=0) > 0).all()
    assert not (rows[drawn].sum(axis=0) > 0).all()
    distance, by_chance = (np.abs(rows[part].sum(axis=0) / count - 0.1).mean() for part in (val, drawn))
    assert distance < by_chance / 3


def test_folds_have_their_share_of_every_label():
    import torch

    generator = torch.Generator().manual_seed(0)
    rows = (torch.rand(200, 10, generator=generator) < 0.2).float()
    folds = assign_folds(rows, "multi-label")
    counts = torch.stack([rows[folds == fold].sum(dim=0) for fold in range(FOLDS)])
    assert (counts - rows.sum(dim=0) / FOLDS).abs().max() <= 2
