"""The same images among those that several models were judged on."""

from collections.abc import Sequence

import torch

from tl_toolkit.metrics.predictions import Predictions
from tl_toolkit.metrics.shared_images import match_images, subset


def judged_on(contents: Sequence[str | None], targets: torch.Tensor | Sequence[int]) -> Predictions:
    """Predictions for images with these contents."""
    found = targets if isinstance(targets, torch.Tensor) else torch.tensor(targets)
    names = [f"{index}.png" for index in range(len(contents))]
    logits = torch.arange(2.0 * len(contents)).view(-1, 2)
    return Predictions(logits, found, names, [each.encode() if each else None for each in contents])


def test_match_images_finds_the_same_contents_in_any_order_with_classes_in_any_order():
    first, second = judged_on("abcd", [0, 1, 0, 1]), judged_on("xdca", [0, 0, 1, 1])
    shared = match_images([first, second], [["cat", "dog"], ["dog", "cat"]])
    assert shared.indices == [[0, 2, 3], [3, 2, 1]]
    assert shared.relabelled == 0
    assert len(shared) == 3


def test_match_images_leaves_out_images_with_another_class_and_counts_them():
    shared = match_images([judged_on("abc", [0, 1, 0]), judged_on("abc", [0, 0, 0])], [["cat", "dog"]] * 2)
    assert shared.indices == [[0, 2], [0, 2]]
    assert shared.relabelled == 1


def test_match_images_pairs_identical_images_one_to_one():
    shared = match_images([judged_on("aab", [0, 0, 1]), judged_on("baaa", [1, 0, 0, 0])], [["cat", "dog"]] * 2)
    assert shared.indices == [[0, 1, 2], [1, 2, 0]]


def test_match_images_of_unknown_contents_are_none():
    shared = match_images([judged_on([None, "b"], [0, 1]), judged_on([None, "b"], [0, 1])], [["cat", "dog"]] * 2)
    assert shared.indices == [[1], [1]]


def test_match_images_of_three_models_are_those_of_all():
    models = [judged_on(text, [0] * len(text)) for text in ("abc", "bcd", "cb")]
    assert match_images(models, [["cat", "dog"]] * 3).indices == [[1, 2], [0, 1], [1, 0]]


def test_match_images_with_several_labels_needs_all_of_them_to_be_the_same():
    first = judged_on("abc", torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 0.0]]))
    second = judged_on("abc", torch.tensor([[0.0, 1.0], [1.0, 0.0], [0.0, 0.0]]))
    shared = match_images([first, second], [["cat", "dog"], ["dog", "cat"]])
    assert shared.indices == [[0, 2], [0, 2]]
    assert shared.relabelled == 1


def test_subset_takes_the_images_in_the_order_of_the_indices():
    found = subset(judged_on("abc", [0, 1, 0]), [2, 1])
    assert (found.names, found.contents) == (["2.png", "1.png"], [b"c", b"b"])
    assert found.logits.tolist() == [[4, 5], [2, 3]]
    assert found.targets.tolist() == [0, 1]
