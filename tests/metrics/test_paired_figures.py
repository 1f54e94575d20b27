"""Figures of several models on the same images, against scikit-learn, and in simulations with a known truth."""

import dataclasses
from collections.abc import Callable, Sequence

import pytest
import torch
from sklearn import metrics as sklearn

from tl_toolkit.config.choices import Loss
from tl_toolkit.metrics import paired_figures
from tl_toolkit.metrics.intervals import wilson
from tl_toolkit.metrics.paired_figures import Estimate, bootstrap_differences, compare_figures
from tl_toolkit.metrics.predictions import Predictions
from tl_toolkit.metrics.resampled import image_losses, statistics
from tl_toolkit.training.losses import Criterion

FIGURES = ("accuracy", "balanced_accuracy", "macro_f1", "loss")
LABEL_FIGURES = ("mean_average_precision", "macro_f1", "micro_f1", "subset_accuracy", "loss")


def made_up(images: int, classes: int, skill: float, seed: int, noise: float = 1.0) -> Predictions:
    """Predictions of a made-up model; those with the same number of images have the same targets."""
    targets = torch.randint(classes, (images,), generator=torch.Generator().manual_seed(images))
    logits = noise * torch.randn(images, classes, generator=torch.Generator().manual_seed(seed))
    logits[torch.arange(images), targets] += skill
    return Predictions(logits, targets, [str(index) for index in range(images)])


def made_up_labels(images: int, labels: int, skill: float, seed: int) -> Predictions:
    """Predictions of a made-up model of several labels an image."""
    there = (torch.rand(images, labels, generator=torch.Generator().manual_seed(images)) < 0.3).float()
    logits = torch.randn(images, labels, generator=torch.Generator().manual_seed(seed)) + skill * there - 1
    logits = (logits * 4).round() / 4  # With equal scores.
    return Predictions(logits, there, [str(index) for index in range(images)], loss="bce", task="multi-label")


def resampled(predictions: Predictions, weights: torch.Tensor) -> Predictions:
    """The predictions of a resample, whose images come as often as they count."""
    indices = torch.repeat_interleave(torch.arange(len(weights)), weights.long())
    return dataclasses.replace(
        predictions,
        logits=predictions.logits[indices],
        targets=predictions.targets[indices],
        names=[predictions.names[index] for index in indices.tolist()],
    )


@pytest.mark.parametrize("seed", range(3))
def test_statistics_of_resampled_images_equal_those_of_scikit_learn(seed: int):
    predictions = made_up(60, 4, 1.0, seed)
    weights = torch.randint(3, (60,), generator=torch.Generator().manual_seed(seed)).double()
    found = {name: float(of(weights[None])) for name, of in statistics(predictions, FIGURES).items()}
    same = resampled(predictions, weights)
    true, predicted = same.true.numpy(), same.predicted.numpy()
    assert found == pytest.approx(
        {
            "accuracy": sklearn.accuracy_score(true, predicted),
            "balanced_accuracy": sklearn.balanced_accuracy_score(true, predicted),
            "macro_f1": sklearn.f1_score(true, predicted, average="macro"),
            "loss": sklearn.log_loss(true, same.logits.double().softmax(dim=1).numpy()),
        },
        abs=1e-6,
    )


@pytest.mark.parametrize("seed", range(3))
def test_statistics_of_resampled_labels_equal_those_of_scikit_learn(seed: int):
    predictions, thresholds = made_up_labels(50, 3, 1.0, seed), torch.tensor([0.2, 0.5, 0.4])
    weights = torch.randint(3, (50,), generator=torch.Generator().manual_seed(seed)).double()
    found = {name: float(of(weights[None])) for name, of in statistics(predictions, LABEL_FIGURES, thresholds).items()}
    same = resampled(predictions, weights)
    true, given = same.targets.numpy(), (same.logits.sigmoid() >= thresholds).numpy()
    assert found == pytest.approx(
        {
            "mean_average_precision": sklearn.average_precision_score(true, same.logits.numpy(), average="macro"),
            "macro_f1": sklearn.f1_score(true, given, average="macro"),
            "micro_f1": sklearn.f1_score(true, given, average="micro"),
            "subset_accuracy": sklearn.accuracy_score(true, given),
            "loss": float(Criterion("bce")(same.logits, same.targets)),
        },
        abs=1e-6,
    )


@pytest.mark.parametrize(
    ("loss", "outputs", "soft"),
    [
        ("cross-entropy", 4, False),
        ("bce", 4, False),
        ("bce", 1, False),
        ("cross-entropy", 4, True),
    ],
)
def test_image_losses_have_the_mean_of_the_criterion(loss: Loss, outputs: int, soft: bool):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(20, outputs, generator=generator)
    targets = torch.randint(max(2, outputs), (20,), generator=generator)
    rows = torch.rand(20, outputs, generator=generator).softmax(dim=1)
    predictions = Predictions(logits, rows if soft else targets, [""] * 20, (), loss, "soft" if soft else "multi-class")
    mean = float(image_losses(logits, predictions.targets, loss).mean())
    assert mean == pytest.approx(float(Criterion(loss)(logits, predictions.targets)), abs=1e-6)


def test_compare_figures_of_a_model_with_itself_finds_no_difference():
    predictions = made_up(80, 3, 1.0, 1)
    first, second = compare_figures([predictions, predictions], FIGURES, [None, None])
    assert first == second
    assert (second.only_first, second.only_this) == (0, 0)
    assert {each.p for each in second.differences.values()} == {1.0}
    assert {each.value for each in second.differences.values()} == {0.0}


def test_compare_figures_has_intervals_of_each_model_and_of_the_difference():
    weak, strong = made_up(200, 3, 0.5, 1), made_up(200, 3, 2.0, 2)
    first, second = compare_figures([weak, strong], FIGURES, [None, None])
    right = [int(each.right.sum()) for each in (weak, strong)]
    assert first.figures["accuracy"] == Estimate(pytest.approx(right[0] / 200), *wilson(right[0], 200))
    assert second.only_this - second.only_first == right[1] - right[0]
    for name, difference in second.differences.items():
        assert difference.value == pytest.approx(second.figures[name].value - first.figures[name].value)
        assert difference.low < difference.value < difference.high
        assert (difference.value > 0) == (name != "loss")
        assert difference.p < 0.01


def test_compare_figures_gives_the_same_each_time():
    models = [made_up(60, 3, 1.0, seed) for seed in (1, 2, 3)]
    assert compare_figures(models, FIGURES, [None] * 3) == compare_figures(models, FIGURES, [None] * 3)


def test_compare_figures_of_classes_in_another_order_is_the_same():
    first, second = made_up(60, 3, 1.0, 1), made_up(60, 3, 1.5, 2)
    turned = dataclasses.replace(second, logits=second.logits.flip(1), targets=2 - second.targets)
    plain, other = (compare_figures([first, each], FIGURES, [None, None])[1] for each in (second, turned))
    for name in FIGURES:
        assert dataclasses.astuple(other.differences[name]) == pytest.approx(
            dataclasses.astuple(plain.differences[name])
        )


SIMULATED = [
    (lambda trial, seed: made_up(120 + trial % 7, 3, 1.0, seed), FIGURES),
    (lambda trial, seed: made_up(80 + trial % 7, 20, 2.5, seed), FIGURES),  # Four images of a class.
    (lambda trial, seed: made_up_labels(120 + trial % 7, 3, 1.0, seed), LABEL_FIGURES),
]


@pytest.mark.parametrize(("make", "names"), SIMULATED, ids=["classes", "few images", "labels"])
def test_differences_of_equally_good_models_are_found_in_about_one_of_twenty(
    make: Callable[[int, int], Predictions], names: Sequence[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(paired_figures, "RESAMPLES", 400)
    found, trials = dict.fromkeys(names, 0), 200
    for trial in range(trials):
        models = [make(trial, 2 * trial), make(trial, 2 * trial + 1)]
        for name, difference in bootstrap_differences(models, names, [None, None])[1].items():
            found[name] += difference.p < 0.05
    assert max(found.values()) <= 0.05 * trials + 2 * (0.05 * 0.95 * trials) ** 0.5, found


def test_differences_of_labels_find_a_better_model():
    found = 0
    for trial in range(20):
        models = [made_up_labels(150, 3, skill, 2 * trial + place) for place, skill in enumerate((1.0, 2.0))]
        found += bootstrap_differences(models, LABEL_FIGURES, [None, None])[1]["mean_average_precision"].p < 0.05
    assert found >= 18


def test_compare_figures_of_many_labels_draws_images_less_often(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(paired_figures, "LABEL_COST", 0)
    models = [made_up_labels(30, 2, 1.0, 1), made_up_labels(30, 2, 5.0, 2)]
    _, second = compare_figures(models, LABEL_FIGURES, [None, None])
    assert second.differences["mean_average_precision"].p == pytest.approx(2 / 201)
