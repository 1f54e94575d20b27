import pytest
import torch

from tl_toolkit.metrics.base import METRICS, ScoreMeter
from tl_toolkit.metrics.meter import Meter
from tl_toolkit.training.losses import Criterion

CPU = torch.device("cpu")


def test_scores_over_batches_equal_those_of_all_at_once():
    torch.manual_seed(0)
    logits, targets = torch.randn(50, 7), torch.randint(0, 6, (50,))
    meter = ScoreMeter(7, CPU)
    for part in torch.arange(50).split(16):
        meter.update(Criterion()(logits[part], targets[part]), logits[part], targets[part])
    scores = meter.compute()
    right = logits.argmax(1) == targets
    assert scores.images == 50
    assert scores.loss == pytest.approx(float(Criterion()(logits, targets)), rel=1e-5)
    assert scores.accuracy == pytest.approx(float(right.float().mean()))
    top5 = (logits.topk(5).indices == targets[:, None]).any(1).float().mean()
    assert scores.values["top5_accuracy"] == pytest.approx(float(top5))
    class_accuracy = scores.values["class_accuracy"]
    assert isinstance(class_accuracy, tuple)
    assert class_accuracy[3] == pytest.approx(float(right[targets == 3].float().mean()))
    assert class_accuracy[6] is None


def test_scores_of_few_classes_have_no_top5():
    meter = ScoreMeter(3, CPU)
    meter.update(torch.tensor(1.0), torch.eye(3), torch.arange(3))
    values = meter.compute().values
    assert values["top5_accuracy"] is None
    assert values["class_accuracy"] == (1.0, 1.0, 1.0)


def test_scores_as_a_dict_name_the_classes_that_have_images():
    meter = ScoreMeter(3, CPU, ["accuracy", "top5_accuracy", "class_accuracy", "class_precision"])
    meter.update(torch.tensor(0.5), torch.eye(3)[[0, 2]], torch.tensor([0, 0]))
    assert meter.compute().to_dict(["ant", "bee", "wasp"]) == {
        "loss": 0.5,
        "accuracy": 0.5,
        "top5_accuracy": None,
        "class_precision": {"ant": 1.0, "wasp": 0.0},
        "class_accuracy": {"ant": 0.5},
    }


def test_scores_of_chosen_metrics_have_no_others():
    meter = ScoreMeter(3, CPU, ["accuracy"])
    meter.update(torch.tensor(1.0), torch.eye(3), torch.arange(3))
    assert meter.compute().values == {"accuracy": 1.0}


@pytest.mark.parametrize("name", ["accuracy", "class_accuracy"])
def test_metric_of_one_logit_counts_zero_as_the_positive_class(name: str):
    metric = METRICS.get(name)(2, CPU)
    metric.update(torch.tensor([[0.0], [-0.1], [3.0], [0.0]]), torch.tensor([1, 0, 0, 0]))
    assert metric.compute() == {"accuracy": 0.5, "class_accuracy": (pytest.approx(1 / 3), 1.0)}[name]


def test_meter_of_one_logit_counts_zero_as_the_positive_class():
    meter = Meter(CPU)
    logits, targets = torch.tensor([[0.0], [-0.1], [3.0], [0.0]]), torch.tensor([1, 0, 0, 0])
    meter.update(Criterion()(logits, targets), logits, targets)
    assert meter.compute()[1] == pytest.approx(0.5)
