import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score
from torch import nn

from tests.helpers.stages import cluster_features
from tl_toolkit.training.cross_validation import FOLDS, CrossValidation, assign_folds, cross_validate
from tl_toolkit.training.losses import Criterion


def naive_right(features: torch.Tensor, targets: torch.Tensor, held_out: torch.Tensor, classes: int) -> int:
    """Of the held-out images, how many a head gets right that Newton's method solved in float64."""
    width = features.shape[1]
    kept, kept_targets = features[~held_out].double(), targets[~held_out]
    weights = torch.zeros(classes * (width + 1), dtype=torch.float64)

    def logits(flat: torch.Tensor, inputs: torch.Tensor) -> torch.Tensor:
        return nn.functional.linear(inputs, flat[: classes * width].view(classes, width), flat[classes * width :])

    def loss(flat: torch.Tensor) -> torch.Tensor:
        penalty = 3e-3 / 2 * flat[: classes * width].square().sum()
        ridge = 1e-9 * flat.square().sum()  # The biases' sum is free.
        return nn.functional.cross_entropy(logits(flat, kept), kept_targets) + penalty + ridge

    for _ in range(30):
        gradient = torch.autograd.functional.jacobian(loss, weights)
        step = torch.linalg.solve(torch.autograd.functional.hessian(loss, weights), gradient)
        length = 1.0
        while loss(weights - length * step) > loss(weights) and length > 1e-4:
            length /= 2
        weights = weights - length * step
    return int((logits(weights, features[held_out].double()).argmax(1) == targets[held_out]).sum())


def test_assign_folds_spreads_every_class_over_all_folds():
    _, targets = cluster_features([11, 5, 23, 7])
    folds = assign_folds(targets)
    assert folds.min() == 0
    for target in range(4):
        counts = torch.bincount(folds[targets == target], minlength=FOLDS)
        assert counts.max() - counts.min() <= 1
    whole = torch.bincount(folds, minlength=FOLDS)
    assert whole.max() - whole.min() <= 1


def test_assign_folds_never_holds_out_the_only_image_of_a_class():
    targets = torch.tensor([0, 0, 0, 1, 2, 2])
    folds = assign_folds(targets)
    assert folds.tolist().count(-1) == 1
    assert folds[3] == -1
    assert folds[4] != folds[5]


def test_cross_validate_equals_a_naive_loop_over_the_folds():
    features, targets = cluster_features([40, 30, 20, 12, 2, 1])
    folds = assign_folds(targets)
    right = sum(naive_right(features, targets, folds == fold, 6) for fold in range(FOLDS))
    result = cross_validate(features, targets, 6, Criterion())
    assert result.images == 104
    assert result.accuracy == pytest.approx(right / 104, abs=1.5 / 104)
    assert 0.4 < result.accuracy < 0.95


def test_cross_validate_of_a_class_with_two_images_learns_it_from_the_other():
    features, targets = cluster_features([10, 2], spread=0.05)
    assert cross_validate(features, targets, 2, Criterion()) == CrossValidation(1.0, 12)


def test_cross_validate_of_features_that_say_nothing_is_near_chance():
    targets = torch.arange(400) % 4
    features = torch.randn(400, 5, generator=torch.Generator().manual_seed(1))
    result = cross_validate(features, targets, 4, Criterion())
    assert abs(result.accuracy - 0.25) < 4 * result.standard_error


def test_cross_validate_with_one_logit_tells_two_classes_apart():
    features, targets = cluster_features([30, 30], spread=0.1)
    assert cross_validate(features, targets, 1, Criterion("bce")).accuracy == 1.0


def test_cross_validate_does_not_depend_on_random_numbers():
    features, targets = cluster_features([20, 20, 20], spread=2.0)
    found = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        found.append(cross_validate(features.bfloat16(), targets, 3, Criterion()))
    assert found[0] == found[1]


def test_standard_error_is_that_of_a_share_of_independent_images():
    assert CrossValidation(0.9, 100).standard_error == pytest.approx(0.03)
    assert CrossValidation(1.0, 100).standard_error == 0.0


def test_cross_validation_of_several_labels_is_that_of_a_probe_for_each():
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(120, 6, generator=generator)
    labels = (
        features @ torch.randn(6, 3, generator=generator) + torch.randn(120, 3, generator=generator) > 0.5
    ).float()
    folds = assign_folds(labels, "multi-label")
    found = cross_validate(features, labels, 3, Criterion("bce"), "multi-label")
    logits = torch.zeros(120, 3)
    for fold in range(FOLDS):
        held_out = folds == fold
        assert 20 <= int(held_out.sum()) <= 28
        for at in range(3):
            inputs, there = features[~held_out].numpy(), labels[~held_out, at].numpy()
            probe = LogisticRegression(C=1 / (0.03 * len(there)), tol=1e-8).fit(inputs, there)
            logits[held_out, at] = torch.from_numpy(probe.decision_function(features[held_out].numpy())).float()
    expected = average_precision_score(labels.numpy(), logits.numpy(), average="macro")
    assert found.score == found.mean_average_precision == pytest.approx(expected, abs=0.005)
    assert 0.01 < found.standard_error < 0.05
    assert found.images == 120


def test_cross_validation_of_soft_labels_counts_the_largest_share():
    features, targets = cluster_features([30, 30])
    shares = nn.functional.one_hot(targets, 2).float() * 0.8 + 0.1
    soft = cross_validate(features, shares, 2, Criterion(), "soft")
    assert (
        soft.score
        == soft.accuracy
        == pytest.approx(cross_validate(features, targets, 2, Criterion()).accuracy, abs=0.05)
    )
