"""What a last stage brings, judged on folds of train in whole runs."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

import tl_toolkit as tl
from tests.helpers.runs import assert_same_weights
from tl_toolkit.errors import RunInterruptedError
from tl_toolkit.events import Event, TaskProgress
from tl_toolkit.planning import advance
from tl_toolkit.stages import cross_validation
from tl_toolkit.stages.context import RunContext
from tl_toolkit.stages.cross_validation import StageGain, cross_validate_stage
from tl_toolkit.training.plan import StageConfig

Found = list[tuple[RunContext, StageConfig, StageConfig, StageGain]]


@pytest.fixture
def settings(small_settings: dict[str, Any]) -> dict[str, Any]:
    return {**small_settings, "tune": "auto", "views": 1, "probe_epochs": None, "epochs": 4}


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> Found:
    """What each cross-validation was asked, and what it found."""
    calls: Found = []

    def noting(context: RunContext, probe: StageConfig, stage: StageConfig) -> StageGain:
        gain = cross_validate_stage(context, probe, stage)
        calls.append((context, probe, stage, gain))
        return gain

    monkeypatch.setattr(advance, "cross_validate_stage", noting)
    monkeypatch.setattr(advance, "_why_not", lambda *_: "")
    return calls


def noise(images: int) -> tuple[torch.Tensor, list[int]]:
    """Images that say nothing of their class, which a head learns by heart."""
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 255, (images, 3, 32, 32), generator=generator, dtype=torch.uint8), [0, 1, 2] * (images // 3)


def test_cross_validation_of_noise_is_chance_since_no_fold_has_seen_its_images(
    settings: dict[str, Any], found: Found, tmp_path: Path
):
    tl.finetune(data=noise(150), out=tmp_path / "run", **settings)
    [(context, _, _, gain)] = found
    assert gain.images == len(context.splits.train)
    for right in (gain.probe, gain.stage):  # Chance is a third, with a standard error of 4 points.
        assert 0.15 < right / gain.images < 0.55


def test_cross_validation_divides_train_and_shows_no_image_of_val_or_test(
    settings: dict[str, Any], found: Found, tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    seen: list[tuple[str, set[str], set[str]]] = []
    train_on = cross_validation._train

    def noting(context: RunContext, config: StageConfig, fold: int) -> Any:
        seen.append((config.name, set(context.splits.train.names()), set(context.splits.val.names())))
        return train_on(context, config, fold)

    monkeypatch.setattr(cross_validation, "_train", noting)
    tl.finetune(data=tiny_data, out=tmp_path / "run", **settings)
    [(context, _, _, _)] = found
    names = context.splits.train.names()
    assert [stage for stage, _, _ in seen] == ["probe", "last-stage"] * 3
    for _, learned, held_out in seen:
        assert learned | held_out == set(names)
        assert not learned & held_out
    assert sorted(name for _, _, held_out in seen[::2] for name in held_out) == sorted(names)


def test_cross_validation_begins_each_fold_with_the_pretrained_network_and_a_new_head(
    settings: dict[str, Any], tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The head of the run's probe has learned from the images of all folds."""
    states: list[dict[str, torch.Tensor]] = []
    train_on = cross_validation._train

    def note(context: RunContext) -> None:
        states.append({name: value.clone() for name, value in context.network.module.state_dict().items()})

    def noting(context: RunContext, config: StageConfig, fold: int) -> Any:
        if config.name == "probe":
            note(context)
        return train_on(context, config, fold)

    def beginning(context: RunContext, *configs: StageConfig) -> StageGain:
        note(context)
        return cross_validate_stage(context, *configs)

    monkeypatch.setattr(cross_validation, "_train", noting)
    monkeypatch.setattr(advance, "cross_validate_stage", beginning)
    monkeypatch.setattr(advance, "_why_not", lambda *_: "")
    tl.finetune(data=tiny_data, out=tmp_path / "run", **settings)
    before, *folds = states
    assert len(folds) == 3
    for fold in folds:
        assert {name for name, value in fold.items() if not torch.equal(value, before[name])} == {
            "fc.weight",
            "fc.bias",
        }


def test_cross_validation_keeps_copies_of_an_image_in_one_fold(
    settings: dict[str, Any], found: Found, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    pixels, _ = noise(30)
    images, targets = pixels.repeat_interleave(2, dim=0), [index // 2 % 3 for index in range(60)]
    shared: list[set[str]] = []
    train_on = cross_validation._train

    def noting(context: RunContext, config: StageConfig, fold: int) -> Any:
        splits = context.splits
        learned, held_out = ({str(content) for content in each.contents} for each in (splits.train, splits.val))
        shared.append((learned & held_out) - {"None"})
        return train_on(context, config, fold)

    monkeypatch.setattr(cross_validation, "_train", noting)
    tl.finetune(data=(images, targets), out=tmp_path / "run", **settings)
    assert shared == [set()] * 6
    assert any(found[0][0].splits.train.contents)


def test_cross_validation_leaves_the_network_and_the_random_numbers_as_they_were(
    settings: dict[str, Any], tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def checking(context: RunContext, probe: StageConfig, stage: StageConfig) -> StageGain:
        def state() -> dict[str, torch.Tensor]:
            weights = {name: value.clone() for name, value in context.network.module.state_dict().items()}
            return {**weights, "random": torch.get_rng_state()}

        before = state()
        gain = cross_validate_stage(context, probe, stage)
        after = state()
        assert all(torch.equal(value, after[name]) for name, value in before.items())
        assert gain == cross_validate_stage(context, probe, stage)
        return gain

    monkeypatch.setattr(advance, "cross_validate_stage", checking)
    monkeypatch.setattr(advance, "_why_not", lambda *_: "")
    tl.finetune(data=tiny_data, out=tmp_path / "run", **settings)


def test_cross_validation_never_holds_out_the_only_image_of_a_class(
    settings: dict[str, Any], found: Found, tmp_path: Path
):
    images, targets = noise(60)
    tl.finetune(data=(images[:58], [*targets[:57], 3]), out=tmp_path / "run", **settings)
    [(context, _, _, gain)] = found
    assert gain.images == len(context.splits.train) - 1


def test_last_stage_that_gains_in_cross_validation_is_kept_though_val_is_too_small_to_tell(
    settings: dict[str, Any], tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(advance, "_why_not", lambda planned, *_: "" if planned.name == "last-stage" else "enough")
    kept = []
    for gain in (40, 2):
        monkeypatch.setattr(advance, "cross_validate_stage", lambda *_, gain=gain: StageGain(10, 10 + gain, 54))
        run = tl.finetune(
            data=tiny_data, out=tmp_path / str(gain), **{**settings, "learning_rate": 1e-9, "norm": "frozen"}
        )
        kept.append(run.summary["best_stage"])
    assert kept == ["last-stage", "last-stage"]  # val is the same, and the two images come from cross-validation.
    monkeypatch.setattr(advance, "cross_validate_stage", lambda *_: StageGain(10, 11, 54))
    assert tl.finetune(data=tiny_data, out=tmp_path / "one", **settings).summary["best_stage"] == "probe"


def test_run_stopped_in_cross_validation_resumes_to_the_same_weights(
    settings: dict[str, Any], tiny_data: Path, tmp_path: Path, found: Found
):
    whole = tl.finetune(data=tiny_data, out=tmp_path / "whole", **settings)

    def stop(event: Event) -> None:
        if isinstance(event, TaskProgress) and event.task == "folds":
            os.kill(os.getpid(), signal.SIGINT)

    stopped = tmp_path / "stopped"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tl_toolkit.training.loop.PROGRESS_SECONDS", 0.0)
        with pytest.raises(RunInterruptedError, match="Stopped at once"):
            tl.finetune(data=tiny_data, out=stopped, callback=stop, **settings)
    resumed = tl.resume(stopped)
    assert_same_weights(resumed.path, whole.path, "model.safetensors", "last.safetensors")
    first, second = (gain for *_, gain in found)
    assert first == second
