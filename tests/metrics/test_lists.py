import pytest
import torch

from tl_toolkit.metrics.lists import confident_mistakes, least_certain
from tl_toolkit.metrics.predictions import Predictions


def predictions(logits: list[list[float]], targets: list[object], **values: object) -> Predictions:
    made = torch.tensor(targets)
    return Predictions(torch.tensor(logits), made, [f"{index}.png" for index in range(len(made))], **values)


THREE = predictions([[4.0, 0, 0], [0, 2.0, 0], [0, 5.0, 0], [0.1, 0, 0], [0, 0, 3.0]], [0, 2, 0, 1, 1])


def test_confident_mistakes_are_the_wrong_images_surest_first():
    assert confident_mistakes(THREE) == [2, 4, 1, 3]
    assert confident_mistakes(THREE, count=2) == [2, 4]
    assert confident_mistakes(THREE, count=0) == []


def test_least_certain_images_have_the_closest_two_classes():
    assert least_certain(THREE, count=3) == [3, 1, 4]
    assert least_certain(THREE, temperature=5.0, count=1) == [3]


def test_least_certain_goes_by_the_margin_and_not_by_the_second_class_alone():
    found = predictions([[0.6, 0.4, 1e-9], [0.36, 0.34, 0.30]], [0, 0])
    logits = Predictions(found.logits.log(), found.targets, found.names)
    assert least_certain(logits) == [1, 0]


def test_lists_of_one_logit_take_it_for_two_classes():
    found = predictions([[-3.0], [0.2], [4.0], [1.0]], [0, 0, 0, 1])
    assert confident_mistakes(found) == [2, 1]
    assert least_certain(found) == [1, 3, 0, 2]


def test_lists_leave_out_logits_that_are_not_finite():
    found = predictions([[float("nan"), 1.0], [1.0, float("inf")], [0.0, 1.0]], [0, 0, 0])
    assert confident_mistakes(found) == least_certain(found) == [2]


def test_equally_sure_images_are_in_the_order_of_the_data():
    found = predictions([[0.0, 1.0]] * 4, [0, 1, 0, 0])
    assert confident_mistakes(found) == [0, 2, 3]
    assert least_certain(found) == [0, 1, 2, 3]


def test_mistakes_of_several_labels_are_those_furthest_from_the_truth():
    logits = [[3.0, -3.0], [-4.0, -4.0], [0.5, -3.0], [2.0, 2.0]]
    found = predictions(logits, [[1.0, 0.0], [0.0, 1.0], [0.0, 0.0], [0.0, 1.0]], loss="bce", task="multi-label")
    assert confident_mistakes(found) == [1, 3, 2]
    # By a threshold that 0.62 does not reach, the third image has no label, as is true.
    assert confident_mistakes(found, thresholds=torch.tensor([0.7, 0.5])) == [1, 3]
    assert least_certain(found)[0] == 2


def test_lists_of_soft_labels_compare_with_the_largest_share():
    found = predictions([[2.0, 0.0], [2.0, 0.0]], [[0.6, 0.4], [0.1, 0.9]], task="soft")
    assert confident_mistakes(found) == [1]


@pytest.mark.parametrize("classes", [2, 10_000])
def test_lists_of_one_image_of_many_classes(classes: int):
    found = Predictions(torch.zeros(1, classes).index_fill(1, torch.tensor([1]), 2.0), torch.tensor([0]), ["0.png"])
    assert confident_mistakes(found) == least_certain(found) == [0]
