"""Metrics of one class an image, against scikit-learn's."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sklearn

from tl_toolkit.config.choices import Loss
from tl_toolkit.metrics.base import ScoreMeter, Scores
from tl_toolkit.metrics.logits import probabilities
from tl_toolkit.metrics.one_vs_rest import one_vs_rest
from tl_toolkit.recipes.finetune import Run
from tl_toolkit.runs.predictions_file import read_predictions
from tl_toolkit.training.losses import Criterion

CPU = torch.device("cpu")
CLOSE = 1e-6


def scores_of(
    logits: torch.Tensor,
    targets: torch.Tensor,
    loss: Loss = "cross-entropy",
    temperature: float = 1.0,
    batch: int = 16,
    intervals: bool = False,
) -> Scores:
    criterion = Criterion(loss)
    meter = ScoreMeter(
        max(2, logits.shape[1]),
        CPU,
        temperature=temperature,
        loss=loss,
        image_losses=criterion.of_each if intervals else None,
    )
    for part in torch.arange(len(logits)).split(batch):
        meter.update(criterion(logits[part], targets[part]), logits[part], targets[part])
    return meter.compute()


def random_scores(images: int, classes: int, levels: int | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """Return logits and targets; `levels` makes many logits equal."""
    generator = torch.Generator().manual_seed(images)
    targets = torch.randint(classes, (images,), generator=generator)
    logits = torch.randn(images, classes, generator=generator)
    logits[torch.arange(images), targets] += 1
    return (logits if levels is None else (logits * levels).round() / levels), targets


def assert_equal_to_scikit_learn(scores: Scores, shares: np.ndarray, predicted: np.ndarray, true: np.ndarray) -> None:
    """Compare every figure, on data of which each class has images."""
    values, classes = scores.values, shares.shape[1]
    labels = range(classes)
    each = sklearn.precision_recall_fscore_support(true, predicted, labels=labels, zero_division=0)
    for kind in ("macro", "weighted"):
        expected = sklearn.precision_recall_fscore_support(
            true, predicted, labels=labels, average=kind, zero_division=0
        )
        found = [values[f"{kind}_{name}"] for name in ("precision", "recall", "f1")]
        assert found == pytest.approx(expected[:3], abs=CLOSE)
    given_any = np.isin(labels, predicted)
    for name, expected in zip(("class_precision", "class_accuracy", "class_f1", "class_images"), each, strict=True):
        wanted = [None if name == "class_precision" and not any_given else value
                  for value, any_given in zip(expected, given_any, strict=True)]  # fmt: skip
        assert values[name] == pytest.approx(tuple(wanted), abs=CLOSE), name
    assert values["accuracy"] == pytest.approx(sklearn.accuracy_score(true, predicted), abs=CLOSE)
    assert values["balanced_accuracy"] == pytest.approx(sklearn.balanced_accuracy_score(true, predicted), abs=CLOSE)
    one_hot, ranked = np.eye(classes)[true], shares.astype(np.float32)  # Equal ones differ in the last bits.
    assert values["class_roc_auc"] == pytest.approx(
        tuple(sklearn.roc_auc_score(one_hot, ranked, average=None)), abs=CLOSE
    )
    assert values["class_average_precision"] == pytest.approx(
        tuple(sklearn.average_precision_score(one_hot, ranked, average=None)), abs=CLOSE
    )
    assert values["roc_auc"] == pytest.approx(sklearn.roc_auc_score(one_hot, ranked), abs=CLOSE)
    assert values["mean_average_precision"] == pytest.approx(
        sklearn.average_precision_score(one_hot, ranked), abs=CLOSE
    )
    sums_to_one = np.allclose(shares.sum(axis=1), 1)
    brier = (
        sklearn.brier_score_loss(true, shares if classes > 2 else shares[:, 1])
        if sums_to_one
        else ((shares - one_hot) ** 2).sum(axis=1).mean()
    )
    assert values["brier_score"] == pytest.approx(brier, abs=CLOSE)
    assert values["calibration_error"] == pytest.approx(guo_error(shares, true, predicted), abs=CLOSE)


def guo_error(shares: np.ndarray, true: np.ndarray, predicted: np.ndarray) -> float:
    """Return the expected calibration error as the paper's formula says, bin by bin."""
    sure, total = shares[np.arange(len(shares)), predicted], 0.0
    for low in range(15):
        inside = (sure > low / 15) & (sure <= (low + 1) / 15)
        if inside.any():
            total += abs(sure[inside].mean() - (predicted == true)[inside].mean()) * inside.mean()
    return total


@pytest.mark.parametrize("levels", [None, 1, 4])
@pytest.mark.parametrize(("images", "classes"), [(200, 7), (153, 2), (60, 12)])
@pytest.mark.parametrize("temperature", [1.0, 1.7])
def test_metrics_of_random_scores_equal_those_of_scikit_learn(
    images: int, classes: int, levels: int | None, temperature: float
):
    logits, targets = random_scores(images, classes, levels)
    targets[:classes] = torch.arange(classes)
    shares = torch.softmax(logits.double() / temperature, dim=1).numpy()
    scores = scores_of(logits, targets, temperature=temperature)
    assert_equal_to_scikit_learn(scores, shares, logits.argmax(dim=1).numpy(), targets.numpy())
    assert scores.loss == pytest.approx(sklearn.log_loss(targets, logits.double().softmax(dim=1)), abs=CLOSE)


@pytest.mark.parametrize("classes", [1, 5])
def test_metrics_of_a_yes_or_no_for_each_class_equal_those_of_scikit_learn(classes: int):
    logits, targets = random_scores(120, max(2, classes))
    logits = logits[:, :classes] * (1 if classes > 1 else torch.where(targets == 0, -1, 1)[:, None])
    shares = probabilities(logits.double(), "bce").numpy()
    predicted = shares.argmax(axis=1) if classes > 1 else (logits[:, 0] >= 0).long().numpy()
    assert_equal_to_scikit_learn(scores_of(logits, targets, "bce"), shares, predicted, targets.numpy())


def test_metrics_of_a_run_equal_those_of_scikit_learn(tiny_run: Run):
    found = read_predictions(tiny_run.path)
    assert found is not None
    test = found["test"]
    temperature = tiny_run.model.metadata.temperature
    shares = (test.logits.double() / temperature).softmax(dim=1).numpy()
    scores = scores_of(test.logits, test.targets, temperature=temperature, intervals=True)
    assert_equal_to_scikit_learn(scores, shares, test.predicted.numpy(), test.targets.numpy())
    summary = json.loads((tiny_run.path / "summary.json").read_text())
    for name in ("macro_f1", "roc_auc", "brier_score", "calibration_error", "balanced_accuracy"):
        assert summary[f"test_{name}"] == pytest.approx(scores.values[name], abs=CLOSE), name
        assert summary["test_intervals"][name] == pytest.approx(scores.intervals[name], abs=CLOSE), name


@settings(max_examples=20)
@given(
    pairs=st.lists(st.tuples(st.sampled_from([-2.0, 0.0, 0.5, 3.0]), st.booleans()), min_size=2, max_size=30),
    batch=st.integers(1, 30),
)
def test_ranking_of_equal_scores_is_that_of_scikit_learn(pairs: list[tuple[float, bool]], batch: int):
    logits = torch.tensor([[0.0, score] for score, _ in pairs])
    targets = torch.tensor([int(there) for _, there in pairs])
    values = scores_of(logits, targets, batch=batch).values
    if len(targets.unique()) == 1:
        assert values["roc_auc"] is values["mean_average_precision"] is None
        return
    shares = logits.double().softmax(dim=1)[:, 1]
    assert values["roc_auc"] == pytest.approx(sklearn.roc_auc_score(targets, shares.float()), abs=1e-12)
    precision = values["class_average_precision"]
    assert isinstance(precision, tuple)
    assert precision[1] == pytest.approx(sklearn.average_precision_score(targets, shares.float()), abs=1e-12)


def test_influences_are_the_derivatives_by_the_weights_of_images():
    logits, targets = random_scores(16, 3, levels=2)
    shares = logits.double().softmax(dim=1).float().double()
    found = one_vs_rest(lambda columns: shares[:, columns], targets, 3)
    step, influences = 1e-6, torch.zeros(2, 16, dtype=torch.float64)
    one_hot = np.eye(3)[targets.numpy()]
    for image in range(16):
        weights = np.ones(16)
        weights[image] += step
        for kind, score in enumerate((sklearn.roc_auc_score, sklearn.average_precision_score)):
            change = score(one_hot, shares.numpy(), sample_weight=weights) - score(one_hot, shares.numpy())
            influences[kind, image] = change / step
    expected = influences.square().sum(dim=1).tolist()
    assert [found.roc_auc_variance, found.average_precision_variance] == pytest.approx(expected, rel=1e-3)


def test_classes_without_images_count_in_no_mean():
    logits = torch.tensor([[3.0, 0.0, 0.0], [0.0, 0.0, 2.0], [0.0, 2.0, 0.0], [2.0, 0.0, 0.0]])
    values = scores_of(logits, torch.tensor([0, 0, 1, 1])).values
    assert values["class_images"] == (2, 2, 0)
    assert values["class_precision"] == (0.5, 1.0, 0.0)
    assert values["class_accuracy"] == (0.5, 0.5, None)
    assert values["class_f1"] == (0.5, pytest.approx(2 / 3), None)
    assert values["class_roc_auc"][2] is values["class_average_precision"][2] is None  # type: ignore[index]
    assert values["balanced_accuracy"] == 0.5
    assert values["macro_precision"] == 0.75
    assert values["macro_f1"] == pytest.approx((0.5 + 2 / 3) / 2)


def test_images_of_one_class_have_no_ranking_but_everything_else():
    scores = scores_of(torch.randn(9, 3), torch.ones(9, dtype=torch.long), intervals=True)
    assert scores.values["roc_auc"] is scores.values["mean_average_precision"] is None
    assert {"roc_auc", "mean_average_precision"}.isdisjoint(scores.intervals)
    assert {"accuracy", "macro_f1", "brier_score", "calibration_error", "loss"} <= scores.intervals.keys()


@pytest.mark.parametrize("classes", [1, 2, 10])
def test_single_image_has_every_figure_that_it_can(classes: int):
    loss: Loss = "bce" if classes == 1 else "cross-entropy"
    scores = scores_of(torch.full((1, classes), 0.5), torch.tensor([1]), loss, intervals=True)
    for name, (low, high) in scores.intervals.items():
        value = scores.loss if name == "loss" else scores.values[name]
        assert isinstance(value, float)
        assert 0 <= low <= value <= high, name


def test_metrics_of_10_000_classes_take_little_memory_and_time():
    images, classes = 200, 10_000
    generator = torch.Generator().manual_seed(0)
    targets = torch.randint(classes, (images,), generator=generator)
    logits = torch.randn(images, classes, generator=generator)
    logits[torch.arange(images), targets] += 4
    scores = scores_of(logits, targets, batch=64)
    some = torch.unique(targets)[:3]
    shares = logits.double().softmax(dim=1)
    for index in some.tolist():
        expected = sklearn.roc_auc_score(targets == index, shares[:, index])
        assert scores.values["class_roc_auc"][index] == pytest.approx(expected, abs=CLOSE)  # type: ignore[index]
    assert len(scores.values["class_f1"]) == classes  # type: ignore[arg-type]
