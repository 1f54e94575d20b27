"""Probabilities without torch, beside those of torch."""

import numpy as np
import pytest
import torch

from tl_toolkit.metrics import array_logits, logits

ROWS = 8 * torch.randn(50, 4, generator=torch.Generator().manual_seed(0))
EXTREME = torch.tensor([[1e30, -1e30], [-200.0, 200.0], [0.0, 0.0], [90.0, 89.0]])


@pytest.mark.parametrize("loss", ["cross-entropy", "bce"])
@pytest.mark.parametrize(
    "rows", [ROWS, ROWS[:, :1], EXTREME, EXTREME[:, :1]], ids=["many", "one", "extreme", "extreme one"]
)
def test_probabilities_are_those_of_torch(rows: torch.Tensor, loss: str):
    found = array_logits.probabilities(rows.numpy(), loss)
    assert found.dtype == np.float32
    expected = logits.probabilities(rows, loss).numpy()
    assert found.shape == expected.shape
    assert found == pytest.approx(expected, rel=1e-6, abs=1e-7)


@pytest.mark.parametrize("top_k", [1, 3, 9])
@pytest.mark.parametrize("width", [1, 2, 4])
def test_ranked_classes_are_those_of_torch(top_k: int, width: int):
    rows = ROWS[:, :width]
    assert array_logits.ranked_classes(rows.numpy(), top_k).tolist() == logits.ranked_classes(rows, top_k).tolist()


@pytest.mark.parametrize("thresholds", [(), (0.2, 0.5, 0.9, 0.0)])
def test_predicted_labels_are_those_of_torch(thresholds: tuple[float, ...]):
    shares = array_logits.probabilities(ROWS.numpy(), "bce")
    expected = logits.predicted_labels(ROWS, torch.tensor(thresholds) if thresholds else None)
    assert array_logits.predicted_labels(shares, thresholds).tolist() == expected.tolist()
    assert array_logits.predicted_labels(np.array([[0.5]], np.float32)).all()
