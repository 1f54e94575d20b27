import pytest
import torch

from tl_toolkit.training.schedules import factor, make_schedule


def test_factor_with_warmup_rises_to_the_peak():
    factors = [factor("cosine", 100, 0.1, step) for step in range(100)]
    assert factors[0] == pytest.approx(1 / 11)
    assert factors[10] == 1.0
    assert factors == sorted(factors[:10]) + sorted(factors[10:], reverse=True)
    assert factors[-1] < 0.001


def test_factor_of_step_falls_to_a_tenth_twice():
    assert [factor("step", 9, 0.0, step) for step in (0, 2, 3, 6, 8)] == pytest.approx([1, 1, 0.1, 0.01, 0.01])


def test_factor_of_one_cycle_starts_low_peaks_and_ends_near_nothing():
    factors = [factor("one-cycle", 100, 0.1, step) for step in range(101)]
    assert factors[0] == pytest.approx(0.04)
    assert factors[30] == 1.0
    assert factors[100] == pytest.approx(1e-5)


def test_factor_of_constant_stays():
    assert {factor("constant", 10, 0.0, step) for step in range(10)} == {1.0}


@pytest.mark.parametrize("scheduler", ["cosine", "one-cycle", "step", "constant"])
def test_make_schedule_over_one_step_is_finite(scheduler: str):
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([{"params": [parameter], "lr": 0.5}])
    schedule = make_schedule(optimizer, scheduler, steps=1, warmup=0.5)
    optimizer.step()
    schedule.step()
    assert 0 <= schedule.get_last_lr()[0] <= 0.5
