"""When --tune auto goes on, with val and costs that the tests choose."""

import dataclasses
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import tl_toolkit as tl
from tests.helpers.events import eval_record
from tl_toolkit.errors import UsageError
from tl_toolkit.events import LAST_STAGE, PROBE, TUNE, DecisionEvent, EvalRecord, Event
from tl_toolkit.planning import advance
from tl_toolkit.planning.advance import fit_to_budget
from tl_toolkit.planning.cost import DEFAULT_MULTIPLY_ADDS, StageCost
from tl_toolkit.stages.cross_validation import StageGain
from tl_toolkit.training.model_selection import MIN_GAIN_IMAGES
from tl_toolkit.training.plan import StageConfig, best_by_stage, best_records

VAL_IMAGES = 100


class Clock:
    """A time budget that has so many seconds left."""

    def __init__(self, left: float = math.inf) -> None:
        self.left = left

    @property
    def is_set(self) -> bool:
        return self.left < math.inf

    def remaining(self) -> float:
        return self.left


def judged(**accuracy: float) -> list[EvalRecord]:
    """One evaluation of each stage."""
    return [eval_record(stage.replace("_", "-"), 1, 1, val_accuracy=value) for stage, value in accuracy.items()]


def settings_of(stage: str, epochs: int = 6) -> StageConfig:
    return StageConfig(stage, epochs, "adamw", 0.1, 0.1, 0.0)


def decide(
    stage: str,
    records: list[EvalRecord],
    budget: Clock | None = None,
    tune: str = "auto",
    epochs: int = 6,
    val_images: int = VAL_IMAGES,
    task: str = "multi-class",
) -> tuple[StageConfig | None, list[Event]]:
    events: list[Event] = []
    config = SimpleNamespace(tune=tune, time_budget="90s")
    context: Any = SimpleNamespace(
        config=config,
        splits=SimpleNamespace(val=range(val_images)),
        setup=SimpleNamespace(device=torch.device("cpu")),
        callback=events.append,
        task=task,
    )
    stages = [settings_of(PROBE), settings_of(stage, epochs)]
    return fit_to_budget(context, stages, 0 if stage == PROBE else 1, records, budget or Clock()), events


@pytest.fixture
def cost(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Sets what every stage costs; until then, nothing."""

    def be(counted: StageCost, timed: StageCost) -> None:
        monkeypatch.setattr(advance, "count_stage", lambda *_: counted)
        monkeypatch.setattr(advance, "time_stage", lambda *_: timed)

    be(StageCost(0, 1, 0), StageCost(0, 0.1, 0))
    monkeypatch.setattr(advance, "cross_validate_stage", lambda *_: StageGain(0, MIN_GAIN_IMAGES, 100))
    return be


@pytest.mark.parametrize("stage", [LAST_STAGE, TUNE])
def test_auto_leaves_out_what_comes_after_a_val_without_mistakes(stage: str, cost: Any):
    settings, events = decide(stage, judged(probe=1.0, last_stage=0.9))
    assert settings is None
    assert events == [DecisionEvent(stage, "left out", "val has no mistakes left")]


def test_auto_always_trains_the_probe(cost: Any):
    assert decide(PROBE, []) == (settings_of(PROBE), [])


def test_auto_trains_the_last_stage_while_val_has_mistakes(cost: Any):
    assert decide(LAST_STAGE, judged(probe=0.99), val_images=1000) == (settings_of(LAST_STAGE), [])


@pytest.mark.parametrize(("after", "goes_on"), [(0.7, False), (0.8, False), (0.83, False), (0.85, True), (0.9, True)])
def test_auto_goes_on_from_the_last_stage_where_it_gained_more_than_a_standard_error(
    after: float, goes_on: bool, cost: Any
):
    settings, events = decide(TUNE, judged(probe=0.8, last_stage=after))  # Its standard error is 0.04.
    assert (settings is not None) == goes_on
    if not goes_on:
        assert (
            events[0].why
            == f"the last stage changed val by {100 * (after - 0.8):+.1f} points, 4.0 is its standard error"
        )


@pytest.mark.parametrize(("after", "goes_on"), [(0.7, False), (0.77, True), (0.9, True)])
def test_auto_with_time_left_goes_on_unless_the_last_stage_lost(after: float, goes_on: bool, cost: Any):
    settings, _ = decide(TUNE, judged(probe=0.8, last_stage=after), Clock(1000))
    assert (settings is not None) == goes_on


def test_auto_after_a_last_stage_that_was_left_out_leaves_out_the_rest(cost: Any):
    _, events = decide(TUNE, judged(probe=0.5))
    assert events == [DecisionEvent(TUNE, "left out", "the last stage was left out")]


def test_auto_trains_as_many_epochs_as_the_default_limit_allows(cost: Any):
    limit = DEFAULT_MULTIPLY_ADDS["cpu"]
    cost(StageCost(0.5 * limit, 0.15 * limit, 0), StageCost(1, 1, 1))
    settings, events = decide(LAST_STAGE, judged(probe=0.5))
    assert settings == settings_of(LAST_STAGE, 3)
    assert events == [DecisionEvent(LAST_STAGE, "3 of 6 epochs", "the default; see time_budget")]


@pytest.mark.parametrize(("epochs", "left_out"), [(6, True), (1, False)])
def test_auto_leaves_out_a_stage_that_can_do_one_epoch_of_several(epochs: int, left_out: bool, cost: Any):
    limit = DEFAULT_MULTIPLY_ADDS["cpu"]
    cost(StageCost(0, 0.6 * limit, 0), StageCost(5, 60, 5))
    settings, events = decide(LAST_STAGE, judged(probe=0.5), epochs=epochs)
    assert (settings is None) == left_out
    if left_out:
        assert events == [DecisionEvent(LAST_STAGE, "left out", "it would take about 6 min 10 s: see time_budget")]


def test_stages_that_the_user_named_are_trained_whatever_they_cost(cost: Any):
    cost(StageCost(0, 1e30, 0), StageCost(0, 1e30, 0))
    for tune, stage in (("lp-ft", TUNE), ("last-stage", LAST_STAGE), ("full", TUNE)):
        assert decide(stage, judged(probe=1.0), tune=tune) == (settings_of(stage), [])


@pytest.mark.parametrize("tune", ["auto", "lp-ft"])
def test_time_budget_cuts_fine_tuning_to_the_epochs_that_fit(tune: str, cost: Any):
    cost(StageCost(0, 1e30, 0), StageCost(10, 5, 2))
    settings, events = decide(TUNE, judged(probe=0.5, last_stage=0.6), Clock(27), tune)
    assert settings == settings_of(TUNE, 3)
    assert events == [DecisionEvent(TUNE, "3 of 6 epochs", 'time_budget="90s"')]


def test_time_budget_in_which_no_epoch_fits_leaves_the_stage_out(cost: Any):
    cost(StageCost(0, 1, 0), StageCost(10, 5, 2))
    settings, events = decide(LAST_STAGE, judged(probe=0.5), Clock(12))
    assert settings is None
    assert events == [DecisionEvent(LAST_STAGE, "left out", "an epoch takes 15 s, and 12 s are left")]


def test_time_budget_in_which_the_only_stage_does_not_fit_is_refused(cost: Any):
    cost(StageCost(0, 1, 0), StageCost(0, 50, 2))
    with pytest.raises(UsageError, match='time_budget="90s" is too short for tune: an epoch takes 50 s, and 12 s are'):
        decide(TUNE, [], Clock(12), "full")


def test_cost_of_an_epoch_that_the_clock_could_not_tell_allows_all():
    assert min(6, StageCost(1, 0.0, 0).epochs_within(10)) == 6
    assert StageCost(11, 0.0, 0).epochs_within(10) == 0
    assert StageCost(0, 2, 0).epochs_within(-3) == 0


def test_best_by_stage_takes_the_last_of_a_probe_and_the_best_of_the_others():
    records = [
        *(eval_record(PROBE, epoch, 3, val_accuracy=value) for epoch, value in ((1, 0.9), (2, 0.5), (3, 0.7))),
        *(eval_record(TUNE, epoch, 3, val_accuracy=value) for epoch, value in ((1, 0.6), (2, 0.8), (3, 0.1))),
    ]
    assert best_by_stage(records) == {PROBE: 0.7, TUNE: 0.8}
    assert {stage: record.epoch for stage, record in best_records(records).items()} == {PROBE: 3, TUNE: 2}


@pytest.fixture
def folds(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Sets what cross-validation finds among 300 images, and notes the epochs that it is asked for."""
    asked: list[int] = []

    def find(probe: int, stage: int) -> list[int]:
        def cross_validate(_: Any, __: StageConfig, stage_config: StageConfig) -> StageGain:
            asked.append(stage_config.epochs)
            return StageGain(probe, stage, 300)

        monkeypatch.setattr(advance, "cross_validate_stage", cross_validate)
        return asked

    return find


def test_auto_trains_a_last_stage_that_gains_in_cross_validation(cost: Any, folds: Any):
    asked = folds(270, 279)
    settings, events = decide(LAST_STAGE, judged(probe=0.9), Clock(1000), epochs=8)
    assert settings == dataclasses.replace(settings_of(LAST_STAGE, 8), gain_images=9)
    why = "93.0 % of 300 images of train, cross-validated, and 90.0 % with the head alone"
    assert (events, asked) == ([DecisionEvent(LAST_STAGE, "pays", why)], [4])


@pytest.mark.parametrize("right", [250, 270, 271])
def test_auto_leaves_out_a_last_stage_that_gains_nothing_in_cross_validation(right: int, cost: Any, folds: Any):
    folds(270, right)
    settings, events = decide(LAST_STAGE, judged(probe=0.9), Clock(1000))
    assert settings is None
    why = f"{right / 3:.1f} % of 300 images of train, cross-validated, and 90.0 % with the head alone"
    assert events == [DecisionEvent(LAST_STAGE, "left out", why)]


@pytest.mark.parametrize(
    ("affordable", "planned", "tried"), [(40, 8, 4), (12, 8, 4), (11, 8, None), (9, 3, 3), (8, 3, None), (99, 1, None)]
)
def test_cross_validation_in_a_budget_leaves_time_for_the_stage_itself(
    affordable: int, planned: int, tried: int | None, cost: Any, folds: Any
):
    asked = folds(270, 290)
    cost(StageCost(0, 1e30, 0), StageCost(3, 1, 0))
    settings, _ = decide(LAST_STAGE, judged(probe=0.9), Clock(affordable + 3.5), epochs=planned)
    assert settings is not None
    assert asked == ([tried] if tried else [])
    assert settings.gain_images == (20 if tried else 0)


@pytest.mark.parametrize(
    ("affordable", "planned", "tried"), [(32, 4, 4), (31, 4, None), (24, 3, 3), (23, 3, None), (99, 1, None)]
)
def test_cross_validation_by_default_takes_at_most_a_quarter_of_the_limit(
    affordable: int, planned: int, tried: int | None, cost: Any, folds: Any
):
    asked = folds(270, 290)
    cost(StageCost(0, DEFAULT_MULTIPLY_ADDS["cpu"] / (affordable + 0.5), 0), StageCost(0, 1e30, 0))
    settings, _ = decide(LAST_STAGE, judged(probe=0.9), epochs=planned)
    assert settings is not None
    assert asked == ([tried] if tried else [])
    assert settings.gain_images == (20 if tried else 0)


@pytest.mark.parametrize(
    "case", [{"val_images": 1000}, {"task": "multi-label"}, {"task": "soft"}, {"tune": "last-stage"}]
)
def test_cross_validation_is_left_out_where_val_is_large_or_nothing_is_to_be_chosen(
    case: dict[str, Any], cost: Any, folds: Any
):
    asked = folds(270, 290)
    settings, _ = decide(LAST_STAGE, judged(probe=0.9), **{"budget": Clock(1000), **case})
    assert settings == settings_of(LAST_STAGE)
    assert asked == []


@pytest.fixture(scope="module")
def noise() -> tuple[torch.Tensor, list[int]]:
    """Images that say nothing of their class."""
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 255, (120, 3, 32, 32), generator=generator, dtype=torch.uint8), [0, 1, 2] * 40


@pytest.mark.parametrize("rate", [1e-4, 0.1])
def test_auto_ends_with_no_less_val_than_the_probe(
    rate: float, noise: Any, tmp_path: Path, small_settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(advance, "_why_not", lambda *_: "")
    monkeypatch.setattr(advance, "SMALL_VAL", 0)
    settings = {**small_settings, "tune": "auto", "learning_rate": rate, "val_images": 30, "epochs": 2}
    run = tl.finetune(data=noise, out=tmp_path / "run", **settings)
    stages = {stage: best["val_accuracy"] for stage, best in run.summary["stages"].items()}
    assert list(stages) == ["probe", "last-stage", "tune"]
    assert run.summary["val_accuracy"] >= stages["probe"] - 1e-9
    # A later stage must have two images more right.
    assert max(stages.values()) - stages[run.summary["best_stage"]] < 1.5 / 30


def test_auto_after_a_probe_without_mistakes_is_the_probe(
    tiny_data: Path, tmp_path: Path, small_settings: dict[str, Any]
):
    events: list[Event] = []
    settings = {**small_settings, "tune": "auto", "val_images": 3, "probe_epochs": None, "views": 1}
    run = tl.finetune(data=tiny_data, out=tmp_path / "run", callback=events.append, **settings)
    assert run.summary["stages"] == {"probe": {"val_accuracy": 1.0, "epoch": 12}}
    assert (run.summary["best_stage"], run.summary["best_epoch"]) == ("probe", 12)
    left_out = [event for event in events if isinstance(event, DecisionEvent) and event.value == "left out"]
    assert [event.what for event in left_out] == ["last-stage", "tune"]
