from collections import Counter

from tl_toolkit.data.splits import stratified_sample, stratified_split

TARGETS = [0] * 40 + [1] * 10 + [2]
NAMES = [f"{target}/{index}.jpg" for index, target in enumerate(TARGETS)]


def test_stratified_split_takes_the_share_of_every_class():
    train, val = stratified_split(TARGETS, NAMES, 0.2, seed=0)
    assert Counter(TARGETS[index] for index in val) == {0: 8, 1: 2}
    assert sorted(train + val) == list(range(len(TARGETS)))


def test_stratified_split_with_another_seed_differs():
    assert stratified_split(TARGETS, NAMES, 0.2, 0) == stratified_split(TARGETS, NAMES, 0.2, 0)
    assert stratified_split(TARGETS, NAMES, 0.2, 0) != stratified_split(TARGETS, NAMES, 0.2, 1)


def test_stratified_split_with_an_image_added_moves_at_most_one():
    _, before = stratified_split(TARGETS, NAMES, 0.2, seed=3)
    _, after = stratified_split([*TARGETS, 0], [*NAMES, "0/new.jpg"], 0.2, seed=3)
    assert len({NAMES[index] for index in before} - {[*NAMES, "0/new.jpg"][index] for index in after}) <= 1


def test_stratified_split_of_two_images_leaves_one_in_each():
    assert [len(part) for part in stratified_split([0, 0], ["a", "b"], 0.9, 0)] == [1, 1]


def test_stratified_split_with_undecodable_names_works():
    assert len(stratified_split([0, 0], ["caf\udce9.jpg", "b"], 0.5, 0)[1]) == 1


def test_stratified_sample_takes_exactly_as_many_from_each_class_in_proportion():
    for count in range(1, 52):
        rest, sample = stratified_sample(TARGETS, NAMES, count, seed=0)
        assert len(sample) == count
        assert sorted(rest + sample) == list(range(51))
        taken = Counter(TARGETS[index] for index in sample)
        assert all(abs(taken[target] - count * TARGETS.count(target) / 51) < 1 for target in (0, 1, 2))


def test_stratified_sample_of_more_holds_that_of_fewer_where_no_class_loses():
    few, more = (set(stratified_sample(TARGETS, NAMES, count, seed=0)[1]) for count in (5, 40))
    assert few < more
