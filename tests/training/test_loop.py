import dataclasses
import math

import pytest
import torch
from torch import nn

from tests.helpers.events import eval_record
from tests.helpers.stages import CPU, make_stage, separable_features
from tl_toolkit.errors import TrainingError
from tl_toolkit.events import EvalRecord, StepRecord, TrainingProgress
from tl_toolkit.features.batches import EvalFeatures
from tl_toolkit.training import loop
from tl_toolkit.training.device import select_device
from tl_toolkit.training.loop import Stage, StageProgress, StepEnd, fit
from tl_toolkit.training.losses import Criterion
from tl_toolkit.training.mixing import Mixing
from tl_toolkit.training.optimizers import make_optimizer
from tl_toolkit.training.schedules import make_schedule


def run(stage: Stage) -> list[EvalRecord]:
    accelerator = select_device("cpu", "fp32").accelerator()
    return [record for record in fit(stage, accelerator, StageProgress(CPU)) if isinstance(record, EvalRecord)]


def test_fit_learns_and_tells_each_epoch():
    torch.manual_seed(0)
    records = run(make_stage(nn.Linear(3, 3)))
    assert [record.epoch for record in records] == [1, 2, 3, 4, 5]
    assert records[-1].val_accuracy > 0.97
    assert records[-1].val_loss < records[0].val_loss
    assert records[-1].learning_rate < records[0].learning_rate


def test_fit_keeps_frozen_batchnorm_and_dropout_in_eval():
    module = nn.Sequential(nn.BatchNorm1d(3), nn.Dropout(0.5), nn.Linear(3, 3), nn.BatchNorm1d(3))
    module[0].requires_grad_(False)
    run(make_stage(module, trainable=("2", "3"), epochs=1))
    assert torch.equal(module[0].running_mean, torch.zeros(3))
    assert module[0].num_batches_tracked == 0
    assert module[3].num_batches_tracked == 3


def test_fit_whose_loss_is_not_finite_stops_with_advice():
    class Exploding(nn.Linear):
        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            return super().forward(inputs) * math.inf

    with pytest.raises(TrainingError, match=r"The loss became nan in epoch 1 of the tune stage\. .* Try a tenth"):
        run(make_stage(Exploding(3, 3)))


def test_improves_on_prefers_accuracy_and_then_loss():
    def record(accuracy: float, loss: float) -> EvalRecord:
        return eval_record("tune", 1, 1, val_loss=loss, val_accuracy=accuracy)

    assert record(0.5, 1.0).improves_on(None)
    assert record(0.6, 2.0).improves_on(record(0.5, 1.0))
    assert record(0.5, 0.9).improves_on(record(0.5, 1.0))
    assert not record(0.5, 1.0).improves_on(record(0.5, 1.0))


def test_fit_evaluates_and_logs_every_so_many_steps_and_at_the_end_of_epochs():
    torch.manual_seed(0)  # 600 images make three steps an epoch.
    stage = dataclasses.replace(make_stage(nn.Linear(3, 3), epochs=2), eval_every=2, log_every=5)
    accelerator = select_device("cpu", "fp32").accelerator()
    told = [told for told in fit(stage, accelerator, StageProgress(CPU)) if not isinstance(told, StepEnd)]
    evaluated = [record for record in told if isinstance(record, EvalRecord)]
    assert [(record.epoch, record.step, record.ends_epoch) for record in evaluated] == [
        (1, 2, False), (1, 3, True), (2, 4, False), (2, 6, True),
    ]  # fmt: skip
    assert [record.images for record in evaluated] == [512, 88, 256, 344]
    assert [(record.epoch, record.step) for record in told if isinstance(record, StepRecord)] == [(2, 5)]


def test_fit_goes_on_in_train_mode_after_an_evaluation_within_an_epoch():
    torch.manual_seed(0)
    module = nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 3))
    stage = dataclasses.replace(make_stage(module, epochs=1), eval_every=1)
    run(stage)
    assert module[0].num_batches_tracked == 3


def test_fit_with_evaluations_within_epochs_trains_the_same_weights():
    weights = []
    for eval_every in (None, 2):
        torch.manual_seed(0)
        module = nn.Linear(3, 3)
        run(dataclasses.replace(make_stage(module, epochs=2), eval_every=eval_every))
        weights.append(module.weight.detach().clone())
    assert torch.equal(*weights)


def test_fit_with_class_weights_judges_val_without_them():
    torch.manual_seed(0)
    module = nn.Linear(3, 3)
    weighted = Criterion(label_smoothing=0.1, class_weights=torch.tensor([5.0, 1.0, 0.2]))
    stage = dataclasses.replace(make_stage(module, epochs=1), criterion=weighted)
    record = run(stage)[-1]
    features = separable_features()
    with torch.inference_mode():
        logits = module(torch.cat([inputs for inputs, _ in EvalFeatures(features, 64)]))
        expected = Criterion()(logits, features.targets)
    assert record.val_loss == pytest.approx(float(expected), rel=1e-4)
    assert record.val_loss != pytest.approx(
        float(Criterion(class_weights=weighted.class_weights)(logits, features.targets)), rel=1e-2
    )


def test_fit_with_frozen_norm_keeps_statistics_and_moves_weights():
    torch.manual_seed(0)
    module = nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 3), nn.BatchNorm1d(3))
    for part in (module[0], module[2]):
        part.running_mean.normal_()
        part.running_var.uniform_(0.5, 2)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    run(dataclasses.replace(make_stage(module, epochs=2), frozen_norm=True, eval_every=1))
    statistics = ("running_mean", "running_var", "num_batches_tracked")
    for name, value in module.state_dict().items():
        assert torch.equal(value, before[name]) == name.endswith(statistics), name


def mixed_stage(module: nn.Module, **alphas: float) -> Stage:
    stage = make_stage(module, epochs=1)
    return dataclasses.replace(stage, mixing=Mixing(**{"mixup": 0.0, "cutmix": 0.0, "seed": 4} | alphas))


def test_fit_with_mixing_learns_from_the_mixed_images_and_both_targets():
    torch.manual_seed(0)
    module = nn.Linear(3, 3)
    before = nn.Linear(3, 3)
    before.load_state_dict(module.state_dict())
    stage = mixed_stage(module, mixup=0.7)
    stage.train.set_epoch(1)
    inputs, targets = next(iter(stage.train))
    stepped = fit(
        dataclasses.replace(stage, log_every=1), select_device("cpu", "fp32").accelerator(), StageProgress(CPU)
    )
    record = next(told for told in stepped if isinstance(told, StepRecord))
    mixed = stage.mixing(inputs, targets, 0)
    assert mixed.share < 0.99
    with torch.no_grad():
        logits, unmixed = before(mixed.inputs), before(inputs)
    soft = mixed.share * nn.functional.one_hot(targets, 3) + (1 - mixed.share) * nn.functional.one_hot(
        mixed.partners, 3
    )
    assert record.train_loss == pytest.approx(float(nn.functional.cross_entropy(logits, soft)), rel=1e-5)
    assert record.train_loss != pytest.approx(float(nn.functional.cross_entropy(unmixed, targets)), rel=1e-3)


def test_fit_judges_val_without_mixing():
    torch.manual_seed(0)
    module = nn.Linear(3, 3)
    record = run(mixed_stage(module, mixup=5.0))[-1]
    features = separable_features()
    with torch.inference_mode():
        logits = module(torch.cat([inputs for inputs, _ in EvalFeatures(features, 64)]))
    assert record.val_loss == pytest.approx(float(Criterion()(logits, features.targets)), rel=1e-5)


def test_fit_with_a_closure_clips_the_gradient_of_each_step():
    steps = []
    for limit in (None, 1e-6):
        torch.manual_seed(0)
        module = nn.Linear(3, 3)
        optimizer = torch.optim.SGD(module.parameters(), lr=1.0)
        schedule = make_schedule(optimizer, "constant", 15, 0.0)
        before = module.weight.detach().clone()
        stage = make_stage(module, epochs=1)
        run(dataclasses.replace(stage, optimizer=optimizer, schedule=schedule, clip_gradient=limit))
        steps.append(float((module.weight - before).norm().detach()))
    assert steps[0] > 0.05
    assert 0 < steps[1] < 1e-5


def test_fit_reports_the_learning_rate_of_the_step_that_comes_next(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(loop, "PROGRESS_SECONDS", 0.0)
    stage = make_stage(nn.Linear(3, 3), epochs=2)
    events = fit(stage, select_device("cpu", "fp32").accelerator(), StageProgress(CPU))
    reports = [event for event in events if isinstance(event, TrainingProgress)]
    assert [(report.epoch, report.step) for report in reports] == [(1, 1), (1, 2), (2, 1), (2, 2)]
    rates = [report.learning_rate for report in reports if report.learning_rate]
    assert rates[0] == pytest.approx(0.1)  # After a step of warmup.
    assert rates == sorted(rates, reverse=True)
    assert len(set(rates)) == 4


def test_fit_by_lbfgs_reports_no_learning_rate(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(loop, "PROGRESS_SECONDS", 0.0)
    module = nn.Linear(3, 3)
    optimizer = make_optimizer("lbfgs", module, (), 1.0, 1.0, 0.003, 0.9)
    stage = dataclasses.replace(
        make_stage(module), optimizer=optimizer, schedule=make_schedule(optimizer, "constant", 15, 0.0)
    )
    events = fit(stage, select_device("cpu", "fp32").accelerator(), StageProgress(CPU))
    assert {event.learning_rate for event in events if isinstance(event, TrainingProgress)} == {None}
