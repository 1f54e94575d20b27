"""Resuming a run with other threads than it had."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

import tl_toolkit as tl
from tl_toolkit.errors import ModelFileError
from tl_toolkit.events import DecisionEvent, Event, WarningEvent
from tl_toolkit.io.own_files import CHECKPOINT_FILE
from tl_toolkit.recipes.finetune import Run
from tl_toolkit.runs.checkpoint import Checkpoint


def told_by_resume(run: Path, **changes: Any) -> tuple[Run, list[Event]]:
    told: list[Event] = []
    return tl.resume(run, callback=told.append, **changes), told


def test_resume_with_other_threads_says_what_that_does_to_the_bits(stopped_run: Path):
    own = torch.get_num_threads()
    run, told = told_by_resume(stopped_run, threads=own + 1)
    assert [event.message for event in told if isinstance(event, WarningEvent) and "bits" in event.message] == [
        f"The run resumes with {own + 1} threads (as asked), but had {own}. Sums then round differently, so it may not "
        f"end with the same bits as without the break; with threads={own} it does."
    ]
    assert DecisionEvent("threads", str(own + 1), "as asked", detail=True) in told
    assert run.summary["threads"] == own + 1
    lines = (stopped_run / "config.yaml").read_text().splitlines()
    assert lines[0] == f"# Run again with: tl finetune --config config.yaml --threads {own + 1}"
    assert f"threads: {own + 1}" in lines
    assert torch.get_num_threads() == own


def test_resume_goes_on_with_the_threads_that_the_run_had(stopped_run: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    path = stopped_run / CHECKPOINT_FILE
    kept = Checkpoint.read(path)
    assert kept
    own = torch.get_num_threads()
    assert kept.threads == own
    dataclasses.replace(kept, threads=own + 1).write(path)
    run, told = told_by_resume(stopped_run)
    assert DecisionEvent("threads", str(own + 1), "as the run had before", detail=True) in told
    assert not [event for event in told if isinstance(event, WarningEvent) and "bits" in event.message]
    assert run.summary["threads"] == own + 1
    assert "threads: null" in (stopped_run / "config.yaml").read_text().splitlines()


def test_resume_from_a_checkpoint_that_does_not_tell_its_threads_goes_on(stopped_run: Path):
    path = stopped_run / CHECKPOINT_FILE
    kept = Checkpoint.read(path)
    assert kept
    dataclasses.replace(kept, threads=None).write(path)
    assert told_by_resume(stopped_run)[0].summary["threads"] == torch.get_num_threads()
    dataclasses.replace(kept, threads=10**6).write(path)
    with pytest.raises(ModelFileError, match=r"Expected `int` <= 1024 - at `\$\.threads`"):
        tl.resume(stopped_run)
