"""Metrics of several labels an image, against scikit-learn's."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sklearn

from tl_toolkit.metrics.base import ScoreMeter, Scores

CPU = torch.device("cpu")


def scores_of(
    logits: torch.Tensor, targets: torch.Tensor, thresholds: torch.Tensor | None = None, batch: int = 16
) -> Scores:
    meter = ScoreMeter(logits.shape[1], CPU, task="multi-label", thresholds=thresholds)
    for part in torch.arange(len(logits)).split(batch):
        meter.update(torch.tensor(0.0), logits[part], targets[part])
    return meter.compute()


def random_scores(images: int, classes: int, levels: int | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """Return logits and targets; `levels` makes many logits equal."""
    generator = torch.Generator().manual_seed(images)
    targets = (torch.rand(images, classes, generator=generator) < 0.3).float()
    logits = torch.randn(images, classes, generator=generator) + targets
    return (logits if levels is None else (logits * levels).round() / levels), targets


@pytest.mark.parametrize("levels", [None, 1, 4])
def test_average_precision_equals_that_of_scikit_learn(levels: int | None):
    logits, targets = random_scores(200, 7, levels)
    targets[:, 3] = 0  # No image has this label.
    scores = scores_of(logits, targets)
    known = [0, 1, 2, 4, 5, 6]
    expected = [sklearn.average_precision_score(targets[:, index], logits[:, index]) for index in known]
    found = scores.values["average_precision"]
    assert isinstance(found, tuple)
    assert found[3] is None
    assert [found[index] for index in known] == pytest.approx(expected, abs=1e-9)
    assert scores.values["mean_average_precision"] == pytest.approx(np.mean(expected), abs=1e-6)


@given(
    pairs=st.lists(st.tuples(st.sampled_from([-2.0, -0.5, 0.0, 0.5, 3.0]), st.booleans()), min_size=1, max_size=30),
    batch=st.integers(1, 30),
)
def test_average_precision_of_equal_scores_is_that_of_scikit_learn(pairs: list[tuple[float, bool]], batch: int):
    logits = torch.tensor([[score] for score, _ in pairs])
    targets = torch.tensor([[float(there)] for _, there in pairs])
    found = scores_of(logits, targets, batch=batch).values["mean_average_precision"]
    if not targets.any():
        assert found is None
    else:
        assert found == pytest.approx(sklearn.average_precision_score(targets[:, 0], logits[:, 0]), abs=1e-12)


def test_standard_error_is_that_of_labels_with_so_many_images():
    logits, targets = random_scores(80, 3)
    scores = scores_of(logits, targets)
    precision = scores.values["average_precision"]
    assert isinstance(precision, tuple)
    variances = [value * (1 - value) / int(targets[:, index].sum()) for index, value in enumerate(precision) if value]
    expected = math.sqrt(sum(variances)) / 3
    assert scores.values["mean_average_precision_error"] == pytest.approx(expected)


def test_precision_recall_and_f1_equal_those_of_scikit_learn():
    logits, targets = random_scores(150, 5)
    thresholds = torch.tensor([0.2, 0.4, 0.5, 0.6, 0.8])
    values = scores_of(logits, targets, thresholds).values
    given_labels = (logits.sigmoid() >= thresholds).numpy()
    precision, recall, f1, images = sklearn.precision_recall_fscore_support(targets.numpy(), given_labels)
    for name, expected in (("precision", precision), ("recall", recall), ("f1", f1), ("label_images", images)):
        assert values[name] == pytest.approx(tuple(expected)), name
    assert values["micro_f1"] == pytest.approx(sklearn.f1_score(targets.numpy(), given_labels, average="micro"))
    assert values["macro_f1"] == pytest.approx(sklearn.f1_score(targets.numpy(), given_labels, average="macro"))
    assert values["subset_accuracy"] == pytest.approx(sklearn.accuracy_score(targets.numpy(), given_labels))
    assert values["threshold"] == pytest.approx(tuple(thresholds.tolist()))


def test_labels_that_nothing_is_known_of_have_no_value():
    logits, targets = torch.tensor([[2.0, -2.0, -2.0]]), torch.tensor([[0.0, 1.0, 0.0]])
    values = scores_of(logits, targets).values
    assert values["precision"] == (0.0, None, None)
    assert values["recall"] == (None, 0.0, None)
    assert values["f1"] == (None, 0.0, None)
    assert values["macro_f1"] == 0.0


def test_scores_of_a_task_have_its_own_metrics_only():
    logits, targets = random_scores(4, 3)
    assert list(scores_of(logits, targets).values) == [
        "mean_average_precision", "mean_average_precision_error", "micro_f1", "macro_f1", "subset_accuracy",
        "label_images", "average_precision", "precision", "recall", "f1", "threshold",
    ]  # fmt: skip
    soft = ScoreMeter(3, CPU, task="soft")
    soft.update(torch.tensor(0.0), logits, targets.softmax(dim=1))
    assert list(soft.compute().values) == ["accuracy", "top5_accuracy", "kl_divergence"]


def test_kl_divergence_of_soft_labels_is_zero_where_they_are_predicted():
    shares = torch.tensor([[0.7, 0.2, 0.1], [1.0, 0.0, 0.0], [0.5, 0.5, 0.0]])
    for logits, expected in (
        (shares.clamp(min=1e-12).log(), 0.0),
        (torch.zeros(3, 3), float(torch.special.entr(shares).sum(dim=1).neg().add(math.log(3)).mean())),
    ):
        meter = ScoreMeter(3, CPU, task="soft")
        meter.update(torch.tensor(0.0), logits, shares)
        values = meter.compute().values
        assert values["kl_divergence"] == pytest.approx(expected, abs=1e-6)
        assert values["accuracy"] == 1.0
