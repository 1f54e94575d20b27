import dataclasses
from typing import Any

import pytest
import torchvision
from torch import nn

from tl_toolkit.config.finetune import FinetuneConfig
from tl_toolkit.errors import UsageError
from tl_toolkit.training.averaging import Averaging
from tl_toolkit.training.plan import (
    LONG_AVERAGE,
    SHORT_AVERAGE,
    averaging_of,
    norm_is_frozen,
    plan_stages,
    scheduler_of,
    warmup_share,
)

WITH_NORM = torchvision.models.resnet18(num_classes=2)
DEPTHWISE = torchvision.models.mobilenet_v3_small(num_classes=2)
WITHOUT_NORM = nn.Sequential(nn.Linear(3, 2))


def stages(module: nn.Module = WITH_NORM, **settings: Any) -> list[tuple[str, int, str]]:
    return [(each.name, each.epochs, each.optimizer) for each in plan_stages(FinetuneConfig(**settings), module)]


def test_plan_of_auto_goes_from_the_head_to_the_last_stage_and_to_everything():
    assert stages() == [("probe", 12, "lbfgs"), ("last-stage", 4, "adamw"), ("tune", 6, "adamw")]
    assert stages(time_budget="10m")[1] == ("last-stage", 8, "adamw")
    assert stages(epochs=9) == [("probe", 12, "lbfgs"), ("last-stage", 9, "adamw"), ("tune", 9, "adamw")]


@pytest.mark.parametrize(
    ("tune", "names"),
    [
        ("linear-probe", ["probe"]),
        ("last-stage", ["probe", "last-stage"]),
        ("lp-ft", ["probe", "tune"]),
        ("full", ["tune"]),
    ],
)
def test_plan_of_a_named_course_has_its_stages_alone(tune: Any, names: list[str]):
    assert [name for name, _, _ in stages(tune=tune)] == names


@pytest.mark.parametrize(
    "settings",
    [
        {"head": "mlp"},
        {"views": 2},
        {"sampler": "balanced"},
        {"drop_last": True},
        {"feature_cache": False},
        {"probe_learning_rate": "0.01"},
        {"probe_learning_rate": "auto"},
    ],
)
def test_plan_of_a_probe_that_cannot_be_solved_at_once_descends_its_gradient(settings: dict[str, Any]):
    [probe] = stages(tune="linear-probe", **settings)
    assert probe == ("probe", 48, "adamw")
    if "probe_learning_rate" not in settings:
        with pytest.raises(UsageError, match='optimizer="lbfgs" solves a linear head on all features at once: leave'):
            stages(tune="linear-probe", optimizer="lbfgs", **settings)


def test_plan_of_a_probe_alone_takes_the_epochs_rate_and_optimizer_given():
    settings: Any = {"tune": "linear-probe", "epochs": 5, "learning_rate": 0.3, "weight_decay": 0.25}
    for optimizer in (None, "adamw", "sgd"):
        [probe] = plan_stages(FinetuneConfig(**settings, optimizer=optimizer), WITH_NORM)
        assert (probe.epochs, probe.learning_rate, probe.weight_decay) == (5, 0.3, 0.25)
        assert probe.optimizer == (optimizer or "adamw")
    assert stages(tune="linear-probe", epochs=5, optimizer="lbfgs") == [("probe", 5, "lbfgs")]
    [probe, tune] = plan_stages(FinetuneConfig(**{**settings, "tune": "lp-ft"}), WITH_NORM)
    assert (probe.optimizer, probe.epochs, tune.epochs, tune.learning_rate) == ("lbfgs", 12, 5, 0.3)


def test_plan_of_fine_tuning_by_lbfgs_is_refused():
    for tune in ("auto", "full", "lp-ft", "last-stage"):
        with pytest.raises(UsageError, match='solves a linear head and works only with tune="linear-probe"'):
            stages(tune=tune, optimizer="lbfgs")


def test_norm_is_frozen_in_pretrained_networks_with_depthwise_convolutions_unless_asked_otherwise():
    pretrained, scratch = FinetuneConfig(weights="bundled"), FinetuneConfig(weights="none")
    assert norm_is_frozen(pretrained, DEPTHWISE)
    assert not norm_is_frozen(pretrained, WITH_NORM)
    assert not norm_is_frozen(scratch, DEPTHWISE)
    assert not norm_is_frozen(dataclasses.replace(pretrained, norm="batch"), DEPTHWISE)
    for module in (WITH_NORM, DEPTHWISE):
        assert norm_is_frozen(dataclasses.replace(scratch, norm="frozen"), module)
    assert norm_is_frozen(dataclasses.replace(scratch, norm="batch"), WITHOUT_NORM)


def test_fine_tuning_is_the_gentler_the_more_there_is_to_keep():
    def rate(module: nn.Module = WITH_NORM, **settings: Any) -> float:
        return plan_stages(FinetuneConfig(tune="full", **settings), module)[0].learning_rate

    frozen, batch, scratch = (
        rate(weights="bundled", norm="frozen"), rate(weights="bundled", norm="batch"), rate(weights="none"),
    )  # fmt: skip
    probed = plan_stages(FinetuneConfig(tune="last-stage", weights="package"), DEPTHWISE)[1].learning_rate
    assert frozen < probed < batch
    assert frozen < batch <= scratch
    assert rate(weights="bundled") == batch
    assert rate(DEPTHWISE, weights="package") == frozen == rate(WITHOUT_NORM, weights="bundled")
    assert rate(DEPTHWISE, weights="none") == scratch


def test_average_is_on_with_pretrained_weights_and_off_at_zero():
    def average(module: nn.Module = WITH_NORM, **settings: Any) -> Averaging | None:
        return averaging_of(FinetuneConfig(**settings), "tune", module)

    assert average(weights="bundled") == SHORT_AVERAGE
    assert average(weights="none") is None
    assert average(weights="none", ema=0.5) == Averaging(0.5)
    for module in (WITH_NORM, DEPTHWISE):
        assert average(module, weights="bundled", ema=0.0) is None


def test_rate_is_constant_and_the_average_long_where_frozen_batchnorm_goes_on_from_a_probe():
    config = FinetuneConfig(weights="package")
    after_probe = [(config, stage) for stage in ("last-stage", "tune")]
    for each, stage in [*after_probe, (dataclasses.replace(config, scheduler="constant", tune="full"), "tune")]:
        assert scheduler_of(each, stage, DEPTHWISE) == "constant"
        assert averaging_of(each, stage, DEPTHWISE) == LONG_AVERAGE
    frozen = dataclasses.replace(config, norm="frozen")
    assert scheduler_of(frozen, "tune", WITH_NORM) == "constant"
    assert scheduler_of(frozen, "tune", WITHOUT_NORM) == "cosine"


@pytest.mark.parametrize(
    "settings", [{"tune": "full"}, {"weights": "none"}, {"norm": "batch"}, {"scheduler": "cosine"}, {"ema": 0.98}]
)
def test_rate_falls_and_the_average_is_short_elsewhere(settings: dict[str, Any]):
    config = FinetuneConfig(**{"weights": "package", **settings})
    assert scheduler_of(config, "tune", DEPTHWISE) == "cosine"
    assert averaging_of(config, "tune", DEPTHWISE) == (SHORT_AVERAGE if config.weights != "none" else None)


def test_warm_up_is_long_only_where_batchnorm_learns_after_a_probe():
    config = FinetuneConfig(weights="bundled")
    assert warmup_share(config, "last-stage", WITH_NORM) == 0.4
    assert warmup_share(config, "probe", WITH_NORM) == 0.1
    assert warmup_share(config, "tune", DEPTHWISE) == 0.1
    assert warmup_share(dataclasses.replace(config, tune="full"), "tune", WITH_NORM) == 0.1
    assert warmup_share(dataclasses.replace(config, weights="none"), "tune", WITH_NORM) == 0.1
    assert warmup_share(dataclasses.replace(config, warmup=0.2), "tune", WITH_NORM) == 0.2
