"""When a checkpoint is written, and one that cannot be resumed from."""

import dataclasses
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

import tl_toolkit as tl
from tests.helpers.runs import assert_same_run, stop_after
from tl_toolkit.errors import ModelFileError, RunInterruptedError, ToolkitError
from tl_toolkit.events import Event, WarningEvent
from tl_toolkit.io.own_files import CHECKPOINT_FILE
from tl_toolkit.runs import recorder
from tl_toolkit.runs.checkpoint import Checkpoint
from tl_toolkit.training.loop import Stage, StageProgress
from tl_toolkit.training.state import StageState, capture_state


@pytest.mark.parametrize("damage", ["cut", "flip", "pickle", "text"])
def test_resume_from_a_damaged_checkpoint_says_so(damage: str, stopped_run: Path):
    path = stopped_run / CHECKPOINT_FILE
    content = bytearray(path.read_bytes())
    if damage == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "flip":
        content[20] ^= 0xFF
        path.write_bytes(content)
    elif damage == "pickle":
        torch.save({"stage": 0}, path)
    else:
        path.write_text("checkpoint")
    with pytest.raises(ModelFileError, match="is not a checkpoint that tl can resume from"):
        tl.resume(stopped_run)


def test_resume_with_metrics_shorter_than_at_the_checkpoint_says_so(stopped_run: Path):
    (stopped_run / "metrics.jsonl").write_text("")
    with pytest.raises(ToolkitError, match="is shorter"):
        tl.resume(stopped_run)


@pytest.fixture
def saved(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """The stage and step of every checkpoint, as they are written."""
    found: list[tuple[str, int]] = []

    def capture(stage: Stage, position: StageProgress) -> StageState:
        found.append((stage.name, position.step))
        return capture_state(stage, position)

    monkeypatch.setattr(recorder, "capture_state", capture)
    return found


@pytest.mark.parametrize(("every", "steps"), [("2", [2, 4, 6, 8]), ("1h", []), (None, [3, 6, 9])])
def test_checkpoint_is_written_as_often_as_asked(
    every: str | None,
    steps: list[int],
    settings: dict[str, Any],
    tmp_path: Path,
    saved: list[tuple[str, int]],
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(recorder, "COST_SHARE", 1e9)
    tl.finetune(out=tmp_path / "run", tune="full", epochs=3, checkpoint_every=every, **settings)
    assert saved == [("tune", step) for step in [*steps, 9]]  # The last, for more epochs.


def test_resume_from_a_checkpoint_of_another_plan_says_so(stopped_run: Path):
    path = stopped_run / CHECKPOINT_FILE
    kept = Checkpoint.read(path)
    assert kept
    dataclasses.replace(kept, stage=5).write(path)
    with pytest.raises(ModelFileError, match="The checkpoint is one of stage 6, but the run has 1"):
        tl.resume(stopped_run)
    name, value = next(iter(kept.weights_of_best().items()))
    dataclasses.replace(kept, best_weights={name: value.flatten()[:1]}).write(path)
    with pytest.raises(ModelFileError, match="The checkpoint's weights do not fit"):
        tl.resume(stopped_run)


def test_checkpoint_is_due_in_each_stage_at_its_own_steps(
    settings: dict[str, Any], tmp_path: Path, saved: list[tuple[str, int]]
):
    tl.finetune(out=tmp_path / "run", tune="lp-ft", probe_epochs=2, epochs=1, checkpoint_every="2", **settings)
    assert saved == [("probe", 2), ("probe", 2), ("tune", 2), ("tune", 3)]  # A stage's last step in any case.


def test_second_signal_stops_at_once_and_leaves_the_checkpoint(settings: dict[str, Any], tmp_path: Path):
    def callback(event: Event) -> None:
        if isinstance(event, WarningEvent) and event.message.startswith("Stopping when this step"):
            os.kill(os.getpid(), signal.SIGINT)
        stop(event)

    stop = stop_after(7)
    with pytest.raises(RunInterruptedError, match="Stopped at once"):
        tl.finetune(out=tmp_path / "run", tune="full", epochs=3, checkpoint_every="1", callback=callback, **settings)
    whole = tl.finetune(out=tmp_path / "whole", tune="full", epochs=3, **settings)
    assert_same_run(tl.resume(tmp_path / "run").path, whole.path)


def test_sigterm_keeps_the_run_as_one_ctrl_c_does(settings: dict[str, Any], tmp_path: Path):
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(RunInterruptedError, match="Stopped after step 2 of 9"):
        stop = stop_after(1, signal.SIGTERM)
        tl.finetune(out=tmp_path / "run", tune="full", epochs=3, callback=stop, **settings)
    assert signal.getsignal(signal.SIGTERM) is before
    assert (tmp_path / "run" / "checkpoint.safetensors").exists()
