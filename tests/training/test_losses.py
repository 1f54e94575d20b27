import pytest
import torch
from torch.nn import functional

from tl_toolkit.config.choices import Loss
from tl_toolkit.metrics.logits import are_right, predicted_classes, predicted_labels, probabilities, ranked_classes
from tl_toolkit.training.losses import Criterion


def test_criterion_of_one_logit_is_the_cross_entropy_of_two():
    torch.manual_seed(0)
    logit, targets = torch.randn(20, 1), torch.randint(0, 2, (20,))
    both = torch.cat([torch.zeros_like(logit), logit], dim=1)
    for smoothing in (0.0, 0.1):
        expected = functional.cross_entropy(both, targets, label_smoothing=smoothing)
        assert Criterion("bce", smoothing)(logit, targets) == pytest.approx(float(expected), rel=1e-6)


def test_criterion_bce_of_many_logits_judges_each_class_for_itself():
    torch.manual_seed(0)
    logits, targets = torch.randn(20, 4), torch.randint(0, 4, (20,))
    expected = functional.binary_cross_entropy_with_logits(logits, functional.one_hot(targets, 4).float())
    assert Criterion("bce")(logits, targets) == pytest.approx(float(expected), rel=1e-6)


def test_criterion_with_class_weights_is_torchs():
    torch.manual_seed(0)
    logits, targets, weights = torch.randn(20, 4), torch.randint(0, 4, (20,)), torch.tensor([0.5, 1.0, 2.0, 4.0])
    expected = functional.cross_entropy(logits, targets, weights)
    assert Criterion(class_weights=weights)(logits, targets) == pytest.approx(float(expected), rel=1e-6)


@pytest.mark.parametrize(("loss", "outputs"), [("cross-entropy", 3), ("bce", 3), ("bce", 1)])
def test_criterion_counts_an_image_of_weight_two_as_if_it_were_there_twice(loss: Loss, outputs: int):
    torch.manual_seed(0)
    logits, targets = torch.randn(6, outputs), torch.tensor([0, 1, 0, 1, 0, 0])
    weighted = Criterion(loss, 0.1, torch.tensor([1.0, 2.0, 7.0]))(logits, targets)
    twice = torch.cat([torch.arange(6), torch.tensor([1, 3])])
    assert weighted == pytest.approx(float(Criterion(loss, 0.1)(logits[twice], targets[twice])), rel=1e-6)


def test_plain_criterion_has_neither_smoothing_nor_weights():
    assert Criterion("bce", 0.1, torch.ones(3)).plain == Criterion("bce")
    assert Criterion("bce", 0.1, torch.ones(3)).plain.class_weights is None


def test_predicted_classes_of_one_logit_are_positive_from_zero_on():
    assert predicted_classes(torch.tensor([[-0.001], [0.0], [0.001]])).tolist() == [0, 1, 1]
    assert predicted_classes(torch.tensor([[1.0, 3.0, 2.0]])).tolist() == [1]


def test_ranked_classes_of_one_logit_begin_with_the_predicted_one():
    assert ranked_classes(torch.tensor([[0.0], [-1.0]]), 5).tolist() == [[1, 0], [0, 1]]
    assert ranked_classes(torch.tensor([[0.0], [-1.0]]), 1).tolist() == [[1], [0]]
    assert ranked_classes(torch.tensor([[1.0, 3.0, 2.0]]), 2).tolist() == [[1, 2]]


def test_probabilities_sum_to_one_unless_each_class_stands_for_itself():
    logits = torch.tensor([[2.0, 1.0, 0.0]])
    assert float(probabilities(logits, "cross-entropy").sum()) == pytest.approx(1)
    assert torch.equal(probabilities(logits, "bce"), logits.sigmoid())
    assert probabilities(torch.tensor([[0.0]]), "bce").tolist() == [[0.5, 0.5]]


def test_criterion_of_several_labels_is_the_sum_of_losses_of_two_classes():
    torch.manual_seed(0)
    logits, labels = torch.randn(20, 3), (torch.rand(20, 3) < 0.4).float()
    for smoothing in (0.0, 0.2):
        each = [Criterion("bce", smoothing)(logits[:, [at]], labels[:, at].long()) for at in range(3)]
        assert Criterion("bce", smoothing)(logits, labels) == pytest.approx(float(sum(each)), rel=1e-6)


def test_criterion_counts_images_with_a_label_of_weight_two_twice():
    torch.manual_seed(0)
    logits, labels = torch.randn(6, 2), torch.tensor([[1.0, 0], [0, 1], [1, 1], [0, 0], [1, 0], [0, 0]])
    weighted = Criterion("bce", 0.0, torch.tensor([2.0, 1.0]))(logits, labels)
    first, second = (
        functional.binary_cross_entropy_with_logits(logits[:, at], labels[:, at], reduction="none") for at in (0, 1)
    )
    assert weighted == pytest.approx(float((first * (1 + labels[:, 0]) + second).sum() / 6), rel=1e-6)


def test_criterion_of_shares_is_that_of_classes_where_one_has_all():
    torch.manual_seed(0)
    logits, targets = torch.randn(20, 4), torch.randint(0, 4, (20,))
    shares = functional.one_hot(targets, 4).float()
    for smoothing in (0.0, 0.1):
        of_classes = Criterion("cross-entropy", smoothing)(logits, targets)
        assert Criterion("cross-entropy", smoothing)(logits, shares) == pytest.approx(float(of_classes), rel=1e-6)


def test_labels_are_given_from_their_threshold_on():
    logits = torch.tensor([[0.0, 0.0, -0.1], [2.0, -2.0, 0.0]])
    assert predicted_labels(logits).tolist() == [[True, True, False], [True, False, True]]
    thresholds = torch.tensor([0.5, 0.6, 0.1])
    assert predicted_labels(logits, thresholds).tolist() == [[True, False, True], [True, False, True]]


def test_images_are_right_by_their_task():
    logits = torch.tensor([[3.0, -1.0], [3.0, 1.0], [-1.0, 2.0]])
    assert are_right(logits, torch.tensor([0, 1, 1]), "multi-class").tolist() == [True, False, True]
    assert are_right(logits, torch.tensor([[0.7, 0.3], [0.2, 0.8], [0, 1]]), "soft").tolist() == [True, False, True]
    assert are_right(logits, torch.tensor([[1.0, 0], [1, 1], [1, 1]]), "multi-label").tolist() == [True, True, False]
