"""--time-budget, and what a stage costs."""

import dataclasses
import time
from pathlib import Path
from typing import Any

import pytest
import torch

import tl_toolkit as tl
from tests.helpers.folders import copy_digits
from tl_toolkit.config.finetune import FinetuneConfig
from tl_toolkit.data.prepare import prepare_splits
from tl_toolkit.data.sources.base import open_source
from tl_toolkit.errors import UsageError
from tl_toolkit.events import LAST_STAGE, PROBE, TUNE, DecisionEvent, Event
from tl_toolkit.models.backbones import resolve_arch
from tl_toolkit.models.build import build_network
from tl_toolkit.models.multiply_adds import count_multiply_adds
from tl_toolkit.models.weights.resolve import InputOverrides
from tl_toolkit.planning import advance, cost
from tl_toolkit.planning.budget import WRITING_SECONDS, TimeBudget
from tl_toolkit.planning.cost import StageCost, check_budget, count_stage, time_stage
from tl_toolkit.stages.context import RunContext
from tl_toolkit.training.device import DeviceSetup, select_device
from tl_toolkit.training.plan import StageConfig

CHEAP = StageCost(0.0, 0.001, 0.001)


def settings_of(stage: str) -> StageConfig:
    return StageConfig(stage, 3, "adamw", 0.1, 0.1, 0.0)


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> RunContext:
    """Of 40 images for training, 8 for val and 6 for test."""
    data = tmp_path_factory.mktemp("data")
    for split, count in (("train", 20), ("val", 4), ("test", 3)):
        copy_digits(data / split, ["0", "1"], count)
    config = FinetuneConfig(data=str(data), arch="resnet18", weights="none", precision="fp32", workers=0)
    source = open_source(str(data))
    network = build_network(resolve_arch("resnet18"), 2, "swap", "none", InputOverrides(64, 3))
    splits = prepare_splits(source, config, 64, lambda _: None)
    return RunContext(config, network, source, splits, select_device("cpu", "fp32"), lambda _: None)


def test_count_stage_counts_frozen_passes_once_and_training_in_every_epoch(context: RunContext):
    counts = count_multiply_adds(context.network.module, context.network.input_spec)
    whole, trained = counts[""], counts["layer4"] + counts["fc"]
    last = count_stage(context, settings_of(LAST_STAGE))
    assert last.setup == (whole - trained) * (40 + 8)
    assert last.epoch == trained * (3 * 40 + 8)
    assert last.final == whole * (8 + 6)
    full = count_stage(context, settings_of(TUNE))
    assert (full.setup, full.epoch, full.final) == (0, whole * (3 * 40 + 8), whole * (8 + 6))
    two = dataclasses.replace(context, config=dataclasses.replace(context.config, views=2))
    assert count_stage(two, settings_of(LAST_STAGE)).setup == (whole - trained) * (2 * 40 + 8)
    probe = count_stage(context, settings_of(PROBE))
    assert probe.setup == (whole - counts["fc"]) * (40 + 8)
    assert probe.epoch == counts["fc"] * (3 * 40 + 8)


def test_time_stage_and_count_stage_leave_the_network_as_it_was(context: RunContext):
    module = context.network.module
    before = {name: value.clone() for name, value in module.state_dict().items()}
    module.train()
    for name, parameter in module.named_parameters():
        parameter.requires_grad_(name.startswith("layer1"))
    state = torch.get_rng_state()
    for stage in (PROBE, LAST_STAGE, TUNE):
        cost = time_stage(context, settings_of(stage))
        assert 0 <= cost.setup < 60
        assert 0 <= cost.epoch < 60
        assert 0 < cost.final < 60
        module.train()
        count_stage(context, settings_of(stage))
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert all(parameter.grad is None for parameter in module.parameters())
    assert all(parameter.requires_grad == name.startswith("layer1") for name, parameter in module.named_parameters())
    assert torch.equal(torch.get_rng_state(), state)


def test_time_stage_waits_for_the_device_before_it_looks_at_the_clock(
    context: RunContext, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(DeviceSetup, "wait", lambda _: time.sleep(0.2))
    cost = time_stage(context, settings_of(TUNE))
    assert cost.epoch > 0.2 / 32 * 40  # A pass over train, of which 32 images were timed.


def test_time_stage_of_everything_takes_longer_in_an_epoch_than_the_head(context: RunContext):
    assert time_stage(context, settings_of(TUNE)).epoch > 2 * time_stage(context, settings_of(PROBE)).epoch


def test_time_budget_counts_from_where_it_began(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(time, "perf_counter", lambda: 1_000_000.0)
    limited = TimeBudget(100.0, 1_000_000.0 - 30)
    assert limited.elapsed == 30
    assert limited.remaining() == 70 - limited.reserve
    assert limited.used(0.25) and not limited.used(0.5)
    assert not limited.is_spent()
    limited.reserve = 70
    assert limited.is_spent()
    free = TimeBudget(None, 0.0)
    assert not free.is_set and not free.is_spent() and not free.used(0.25)


def test_seconds_left_are_those_until_fine_tuning_ends_and_never_negative(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(time, "perf_counter", lambda: 130.0)
    limited = TimeBudget(100.0, 100.0)
    assert limited.seconds_left() == 70 - limited.reserve
    assert TimeBudget(20.0, 100.0).seconds_left() == 0
    assert TimeBudget(None, 100.0).seconds_left() is None


def test_check_budget_keeps_in_reserve_what_the_end_will_take(context: RunContext, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(cost, "time_stage", lambda *_: StageCost(10, 1, 20))
    limited = TimeBudget(60.0, time.perf_counter())
    check_budget(context, limited)
    assert limited.reserve == 20 + WRITING_SECONDS
    with pytest.raises(
        UsageError, match=r"time_budget is too short with 30 s: 54 images take about 3\d s with the head"
    ):
        check_budget(context, TimeBudget(30.0, time.perf_counter()))
    check_budget(context, TimeBudget(None, time.perf_counter()))


@pytest.fixture
def limited(small_settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A run for which a budget of an hour is plenty; what stages take is for the tests to say."""
    monkeypatch.setattr(cost, "time_stage", lambda *_: CHEAP)
    monkeypatch.setattr(advance, "time_stage", lambda *_: CHEAP)
    return {**small_settings, "time_budget": "1h", "epochs": 3}


def chosen(events: list[Event], what: str) -> list[tuple[str, str]]:
    return [(event.value, event.why) for event in events if isinstance(event, DecisionEvent) and event.what == what]


def test_finetune_with_a_second_is_refused_with_advice_before_anything_is_written(
    photos: Path, tmp_path: Path, small_settings: dict[str, Any]
):
    with pytest.raises(
        UsageError, match=r"time_budget is too short with 1 s: 30 images .* fewer images \(train_images"
    ):
        tl.finetune(data=photos, out=tmp_path / "run", time_budget="1s", **small_settings)
    assert not (tmp_path / "run").exists()


def test_finetune_whose_epochs_do_not_all_fit_trains_fewer(
    photos: Path, tmp_path: Path, limited: dict[str, Any], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(advance, "time_stage", lambda *_: StageCost(0, 1500, 0))
    events: list[Event] = []
    run = tl.finetune(data=photos, out=tmp_path / "run", callback=events.append, **limited)
    assert ("2 of 3 epochs", 'time_budget="1h"') in chosen(events, "tune")
    assert run.summary["epochs"] == 2
    told: list[Event] = []
    assert tl.resume(run.path, callback=told.append).summary == run.summary
    assert chosen(told, "resume")[0][0] == "nothing to do"


def test_finetune_that_the_clock_ends_keeps_the_best_so_far(
    photos: Path, tmp_path: Path, limited: dict[str, Any], monkeypatch: pytest.MonkeyPatch
):
    """The clock jumps when the first step of fine-tuning is told."""
    left = TimeBudget.remaining

    def callback(event: Event) -> None:
        events.append(event)
        if getattr(event, "stage", "") == "tune":
            monkeypatch.setattr(TimeBudget, "remaining", lambda self: left(self) - 3600)

    events: list[Event] = []
    limited["batch_size"] = 8
    run = tl.finetune(data=photos, out=tmp_path / "run", callback=callback, log_every=1, **limited)
    assert chosen(events, "stopped") == [("tune after step 2", "time_budget")]
    assert (run.summary["best_stage"], run.summary["best_epoch"]) == ("probe", 4)
    plain = tl.finetune(data=photos, out=tmp_path / "plain", **{**limited, "tune": "linear-probe", "epochs": 4})
    assert run.summary["val_loss"] == plain.summary["val_loss"]


def test_finetune_of_everything_that_the_clock_would_end_before_any_evaluation_has_one(
    photos: Path, tmp_path: Path, limited: dict[str, Any], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(TimeBudget, "is_spent", lambda self: True)
    events: list[Event] = []
    settings = {**limited, "tune": "full"}
    run = tl.finetune(data=photos, out=tmp_path / "run", callback=events.append, **settings)
    assert chosen(events, "stopped") == [("tune after step 2", "time_budget")]
    assert (run.summary["best_stage"], run.summary["best_epoch"]) == ("tune", 1)


def test_finetune_of_everything_in_which_no_epoch_fits_is_refused(
    photos: Path, tmp_path: Path, limited: dict[str, Any], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(advance, "time_stage", lambda *_: StageCost(0, 4000, 0))
    with pytest.raises(UsageError, match='time_budget="1h" is too short for tune: an epoch takes 1 h'):
        tl.finetune(data=photos, out=tmp_path / "run", **{**limited, "tune": "full"})
