from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from tl_toolkit.data.splits import stratified_sample, stratified_split

IMAGES = st.lists(
    st.tuples(st.text(st.characters(codec="utf-8"), max_size=8), st.integers(0, 4)),
    min_size=1,
    max_size=60,
    unique_by=lambda image: image[0],
)
SHARES = st.floats(0, 1, exclude_min=True, exclude_max=True)
SEEDS = st.integers(0, 2**32 - 1)
Images = list[tuple[str, int]]


def columns(images: Images) -> tuple[list[int], list[str]]:
    return [target for _, target in images], [name for name, _ in images]


@given(images=IMAGES, share=SHARES, seed=SEEDS)
def test_split_divides_all_images_and_takes_the_share_of_each_class(images: Images, share: float, seed: int):
    targets, names = columns(images)
    train, val = stratified_split(targets, names, share, seed)
    assert sorted(train + val) == list(range(len(images)))
    assert train == sorted(train)
    assert val == sorted(val)
    taken, there = Counter(targets[index] for index in val), Counter(targets)
    for target, count in there.items():
        assert taken[target] <= count - 1  # Train has one of each class.
        assert count == 1 or taken[target] >= 1
        assert count == 1 or abs(taken[target] - count * share) <= 1 + 1e-9


@given(images=IMAGES, share=SHARES, seed=SEEDS, order=st.randoms(use_true_random=False))
def test_split_does_not_depend_on_the_order_of_the_images(images: Images, share: float, seed: int, order: object):
    shuffled = list(images)
    order.shuffle(shuffled)  # type: ignore[attr-defined]  # a random.Random
    assert val_names(shuffled, share, seed) == val_names(images, share, seed)


@given(images=IMAGES, share=SHARES, seed=SEEDS, target=st.integers(0, 4), at=st.integers(0, 60))
def test_split_with_an_image_added_keeps_all_others_but_one(
    images: Images, share: float, seed: int, target: int, at: int
):
    before = val_names(images, share, seed)
    after = val_names([*images[:at], ("a new one", target), *images[at:]], share, seed)
    assert len(before - after) <= 1
    assert len(after - before) <= 1
    classes = dict(images)
    assert {classes.get(name, target) for name in before ^ after} <= {target}


@given(images=IMAGES, seed=SEEDS, data=st.data())
def test_sample_takes_exactly_so_many_in_proportion(images: Images, seed: int, data: st.DataObject):
    count = data.draw(st.integers(1, len(images)))
    targets, names = columns(images)
    rest, sample = stratified_sample(targets, names, count, seed)
    assert len(sample) == count
    assert sorted(rest + sample) == list(range(len(images)))
    taken = Counter(targets[index] for index in sample)
    for target, there in Counter(targets).items():
        assert abs(taken[target] - count * there / len(images)) < 1
        assert taken[target] <= there


def val_names(images: Images, share: float, seed: int) -> set[str]:
    targets, names = columns(images)
    return {names[index] for index in stratified_split(targets, names, share, seed)[1]}
