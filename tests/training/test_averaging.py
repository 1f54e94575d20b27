import dataclasses

import pytest
import torch
from torch import nn

from tests.helpers.stages import CPU, make_stage, separable_features
from tl_toolkit.events import EvalRecord
from tl_toolkit.features.batches import EvalFeatures
from tl_toolkit.training.averaging import Averaging, averaged, update_average
from tl_toolkit.training.device import select_device
from tl_toolkit.training.evaluation import evaluate_batches
from tl_toolkit.training.loop import Stage, StageProgress, StepEnd, fit
from tl_toolkit.training.losses import Criterion


def naive_average(values: list[float], decay: float) -> float:
    """What weights that had these values step by step come to."""
    average = values[0]
    for step, value in enumerate(values[1:], start=2):
        kept = min(decay, (1 + step) / (10 + step))
        average = kept * average + (1 - kept) * value
    return average


@pytest.mark.parametrize("decay", [0.3, 0.98])
def test_update_average_moves_as_the_closed_form_says(decay: float):
    values = [1.0, -2.0, 4.0, 4.0, 0.5, 3.0, -1.0]
    average: dict[str, torch.Tensor] = {}
    for step, value in enumerate(values, start=1):
        update_average(average, {"w": torch.full((2,), value)}, Averaging(decay), step)
    torch.testing.assert_close(average["w"], torch.full((2,), naive_average(values, decay)))


def test_update_average_with_a_constant_decay_is_the_geometric_sum():
    """From a step on at which the growing decay has reached its limit."""
    average = {"w": torch.zeros(1)}
    for step in range(1000, 1010):
        update_average(average, {"w": torch.ones(1)}, Averaging(0.9), step)
    assert float(average["w"]) == pytest.approx(1 - 0.9**10)


@pytest.mark.parametrize(("growth", "power"), [(3, 1), (4, 2)])
def test_update_average_with_a_slow_growth_weighs_a_step_by_a_power_of_its_number(growth: int, power: int):
    """In the limit of many steps; the first steps count a little more."""
    steps, average = 2000, {}
    for step in range(1, steps + 1):
        update_average(
            average, {"w": torch.tensor([step / steps], dtype=torch.float64)}, Averaging(0.9999, growth), step
        )
    assert float(average["w"]) == pytest.approx((power + 1) / (power + 2), abs=1e-3)


def test_update_average_copies_integers_and_keeps_its_own_memory():
    weights = {"count": torch.tensor(3), "w": torch.ones(2)}
    average: dict[str, torch.Tensor] = {}
    update_average(average, weights, Averaging(0.9), 1)
    weights["count"] += 4
    weights["w"] += 1
    assert (int(average["count"]), average["w"].tolist()) == (3, [1.0, 1.0])
    update_average(average, weights, Averaging(0.9), 2)
    assert (int(average["count"]), average["count"].dtype) == (7, torch.int64)


def test_averaged_gives_the_weights_back_also_after_an_error():
    module = nn.Linear(2, 2)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    with pytest.raises(ZeroDivisionError), averaged(module, {"weight": torch.full((2, 2), 7.0)}):
        assert module.weight.eq(7).all()
        assert torch.equal(module.bias, before["bias"])
        raise ZeroDivisionError
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


def averaging_stage(decay: float | None) -> Stage:
    torch.manual_seed(0)
    module = nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 3))
    return dataclasses.replace(make_stage(module, epochs=2, lr=0.3), averaging=Averaging(decay) if decay else None)


def weights_of(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def run(stage: Stage) -> tuple[list[EvalRecord], list[dict[str, torch.Tensor]], StageProgress]:
    """Records, the weights after every step, and the position at the end."""
    records, weights, position = [], [], StageProgress(CPU)
    for told in fit(stage, select_device("cpu", "fp32").accelerator(), position):
        if isinstance(told, EvalRecord):
            records.append(told)
        elif isinstance(told, StepEnd) and len(weights) < position.step:
            weights.append(weights_of(stage.module))
    return records, weights, position


def test_fit_with_an_average_trains_the_same_weights_as_without():
    _, without, _ = run(averaging_stage(None))
    _, trained, _ = run(averaging_stage(0.9))
    assert len(trained) == 6
    for one, other in zip(without, trained, strict=True):
        assert all(torch.equal(one[name], other[name]) for name in one)


def test_fit_with_an_average_evaluates_the_average_of_the_weights_of_all_steps():
    stage = averaging_stage(0.9)
    records, weights, position = run(stage)
    for name, value in position.average.items():
        steps = [float(each[name].flatten()[0]) for each in weights]
        expected = steps[-1] if name.endswith("num_batches_tracked") else naive_average(steps, 0.9)
        assert float(value.flatten()[0]) == pytest.approx(expected, rel=1e-4), name

    def val_loss() -> float:
        batches = EvalFeatures(separable_features(), 64)
        return evaluate_batches(stage.module, batches, stage.prepare, 3, CPU, Criterion()).loss

    raw = val_loss()
    with averaged(stage.module, position.average):
        assert records[-1].val_loss == val_loss()
    assert records[-1].val_loss != pytest.approx(raw, rel=1e-3)
