import pytest
import torch

from tl_toolkit.metrics.classification import ClassificationMeter, Meter
from tl_toolkit.training.losses import Criterion


def test_scores_over_batches_equal_those_of_all_at_once():
    torch.manual_seed(0)
    logits, targets = torch.randn(50, 7), torch.randint(0, 6, (50,))
    meter = ClassificationMeter(7, torch.device("cpu"))
    for part in torch.arange(50).split(16):
        meter.update(Criterion()(logits[part], targets[part]), logits[part], targets[part])
    scores = meter.scores()
    right = logits.argmax(1) == targets
    assert scores.images == 50
    assert scores.loss == pytest.approx(float(Criterion()(logits, targets)), rel=1e-5)
    assert scores.accuracy == pytest.approx(float(right.float().mean()))
    top5 = (logits.topk(5).indices == targets[:, None]).any(1).float().mean()
    assert scores.top5_accuracy == pytest.approx(float(top5))
    assert scores.class_accuracy[3] == pytest.approx(float(right[targets == 3].float().mean()))
    assert scores.class_accuracy[6] is None


def test_scores_of_few_classes_have_no_top5():
    meter = ClassificationMeter(3, torch.device("cpu"))
    meter.update(torch.tensor(1.0), torch.eye(3), torch.arange(3))
    assert meter.scores().top5_accuracy is None


def test_meter_of_one_logit_counts_zero_as_the_positive_class():
    meter = Meter(torch.device("cpu"))
    logits, targets = torch.tensor([[0.0], [-0.1], [3.0], [0.0]]), torch.tensor([1, 0, 0, 0])
    meter.update(Criterion()(logits, targets), logits, targets)
    assert meter.compute()[1] == pytest.approx(0.5)
