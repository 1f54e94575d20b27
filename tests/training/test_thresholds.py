import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tl_toolkit.training.thresholds import PRIOR_IMAGES, best_thresholds, choose_thresholds, common_threshold

SCORES = st.floats(-6, 6, width=32).map(lambda score: round(score, 2)) | st.integers(-2, 2).map(float)
PAIRS = st.lists(st.tuples(SCORES, st.booleans()), min_size=1, max_size=25)


def f1_of(logits: torch.Tensor, labels: torch.Tensor, threshold: float) -> float:
    given_label = logits.double() >= threshold
    right = int((given_label & labels).sum())
    return 2 * right / (int(given_label.sum()) + int(labels.sum())) if labels.any() else 0.0


def columns(pairs: list[tuple[float, bool]]) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.tensor([[score] for score, _ in pairs]), torch.tensor([[there] for _, there in pairs])


@given(pairs=PAIRS)
def test_best_threshold_has_the_highest_f1_of_all(pairs: list[tuple[float, bool]]):
    logits, labels = columns(pairs)
    found = f1_of(logits, labels, float(best_thresholds(logits, labels)))
    assert found == max(f1_of(logits, labels, score) for score in logits[:, 0].double().tolist())


@given(pairs=PAIRS)
def test_common_threshold_has_nearly_the_highest_f1_of_all_labels_together(pairs: list[tuple[float, bool]]):
    logits, labels = columns(pairs)
    if labels.any():
        best = max(f1_of(logits, labels, score) for score in logits[:, 0].double().tolist())
        assert f1_of(logits, labels, float(common_threshold(logits, labels)) - 1e-6) == pytest.approx(best)


@given(pairs=PAIRS, others=PAIRS)
def test_threshold_is_a_probability_between_that_of_the_label_and_the_common_one(
    pairs: list[tuple[float, bool]], others: list[tuple[float, bool]]
):
    count = min(len(pairs), len(others))
    (one, one_labels), (two, two_labels) = columns(pairs[:count]), columns(others[:count])
    logits, labels = torch.cat([one, two], dim=1), torch.cat([one_labels, two_labels], dim=1)
    own, common = best_thresholds(logits, labels), common_threshold(logits, labels)
    for threshold, best, images in zip(choose_thresholds(logits, labels), own, labels.sum(dim=0), strict=True):
        assert 0 < threshold < 1
        logit = float(torch.logit(threshold.double()))
        ends = sorted([float(best), float(common)]) if images else [float(common)] * 2
        assert ends[0] - 1e-4 <= logit <= ends[1] + 1e-4


def test_threshold_of_few_images_is_near_the_common_one_and_of_many_near_its_own():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(4000, 2, generator=generator)
    labels = torch.zeros(4000, 2, dtype=torch.bool)
    labels[:, 0] = logits[:, 0] > -1  # Its own best threshold; that of all is between the two.
    labels[logits[:, 1].argmax(), 1] = True  # A single image, the one with the highest score.
    own, common = best_thresholds(logits, labels), common_threshold(logits, labels)
    many, few = torch.logit(choose_thresholds(logits, labels).double())
    assert abs(many - own[0]) < 0.01
    assert float(few) == pytest.approx(float((own[1] + PRIOR_IMAGES * common) / (1 + PRIOR_IMAGES)), abs=1e-5)


def test_label_without_images_has_the_common_threshold():
    logits, labels = torch.tensor([[2.0, 5.0], [1.0, 5.0], [-1.0, 5.0]]), torch.zeros(3, 2, dtype=torch.bool)
    assert choose_thresholds(logits, labels).tolist() == [0.5, 0.5]
    labels[0, 0] = True
    _, without = choose_thresholds(logits, labels).tolist()
    assert without == pytest.approx(float(common_threshold(logits, labels).sigmoid()))
