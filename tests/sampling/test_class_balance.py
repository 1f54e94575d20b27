import numpy as np
import pytest
import torch

from tl_toolkit.sampling.class_balance import balanced_weights, class_balanced_order, is_unbalanced, occurrence_counts

TARGETS = torch.tensor([0] * 90 + [1] * 8 + [3] * 2)


def order_of(seed: int, targets: torch.Tensor = TARGETS) -> torch.Tensor:
    return class_balanced_order(targets, torch.Generator().manual_seed(seed))


def test_balanced_weights_are_scikit_learns():
    # class_weight="balanced" is documented as n_samples / (n_classes * np.bincount(y)).
    targets = np.array([0] * 6 + [1] * 3 + [2])
    expected = len(targets) / (3 * np.bincount(targets))
    weights = balanced_weights(targets.tolist(), 3)
    assert weights.tolist() == pytest.approx(expected)
    assert float(weights[targets].mean()) == pytest.approx(1)


def test_balanced_order_shows_each_class_as_often():
    order = order_of(0)
    counts = torch.bincount(TARGETS[order]).tolist()
    assert len(order) == 100
    assert counts[2] == 0
    assert sorted(counts) == [0, 33, 33, 34]


def test_balanced_order_shows_no_image_again_before_all_of_its_class():
    times = torch.bincount(order_of(0), minlength=100)
    assert times[:90].max() == 1
    assert set(times[90:98].tolist()) <= {4, 5}
    assert set(times[98:].tolist()) <= {16, 17}


def test_balanced_order_depends_on_the_generator_alone():
    assert torch.equal(order_of(1), order_of(1))
    assert not torch.equal(order_of(1), order_of(2))
    assert set(order_of(1)[:40].tolist()) != set(order_of(2)[:40].tolist())


def test_balanced_order_gives_what_is_left_over_to_other_classes_each_time():
    largest = {int(torch.bincount(TARGETS[order_of(seed)]).argmax()) for seed in range(20)}
    assert largest == {0, 1, 3}


def test_numbered_repeats_count_from_zero():
    order = torch.tensor([4, 2, 4, 4, 0, 2])
    assert occurrence_counts(order).tolist() == [0, 0, 1, 2, 0, 1]


@pytest.mark.parametrize(("counts", "expected"), [([100, 10], True), ([99, 10], False), ([5, 0], False), ([], False)])
def test_is_unbalanced_from_a_factor_of_ten_on(counts: list[int], expected: bool):
    assert is_unbalanced(counts) == expected
