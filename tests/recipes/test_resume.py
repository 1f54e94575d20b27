"""A run that was stopped ends with the bits of one that was not."""

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import filelock
import pytest
import torch

import tl_toolkit as tl
from tests.helpers.runs import TIMES, assert_same_run, metrics, stop_after
from tl_toolkit.errors import RunInterruptedError, UsageError
from tl_toolkit.events import DecisionEvent, EarlierRecords, Event
from tl_toolkit.io.own_files import CHECKPOINT_FILE, LOCK_FILE
from tl_toolkit.planning import advance
from tl_toolkit.recipes.finetune import Run
from tl_toolkit.runs.checkpoint import Checkpoint

VARIANTS: dict[str, dict[str, object]] = {
    "lp-ft": {"tune": "lp-ft", "probe_epochs": 3, "epochs": 2},
    "full with workers": {"tune": "full", "epochs": 2, "workers": 2},
    "full from memory": {"tune": "full", "epochs": 2, "augment": "pad-crop"},
    "last-stage": {"tune": "last-stage", "epochs": 2, "views": 2},
    "linear-probe": {"tune": "linear-probe", "epochs": 4},
    "swept probe": {"tune": "linear-probe", "epochs": 4, "probe_learning_rate": "auto"},
    "without a cache": {"tune": "linear-probe", "epochs": 4, "feature_cache": False},
    "sgd": {"tune": "full", "epochs": 2, "optimizer": "sgd", "scheduler": "one-cycle", "eval_every": 2},
    "solved probe": {"tune": "lp-ft", "probe_epochs": 12, "epochs": 1, "log_every": None},
    "probe by descent": {"tune": "linear-probe", "epochs": 6, "optimizer": "adamw"},
    "auto": {"tune": "auto", "probe_epochs": 1, "epochs": 2, "learning_rate": 0.003, "seed": 5, "val_split": 0.3},
    "last-stage averaged": {"tune": "last-stage", "probe_epochs": 2, "epochs": 2, "ema": 0.5, "views": 1},
    "averaged, mixed, frozen norm": {
        "tune": "full", "epochs": 3, "ema": 0.9, "mixup": 0.4, "cutmix": 1.0, "layer_decay": 0.7, "norm": "frozen",
        "patience": 2, "eval_every": 2,
    },
    "averaged on images": {"tune": "lp-ft", "probe_epochs": 2, "epochs": 2, "ema": 0.9, "norm": "batch"},
}  # fmt: skip

AUTO: dict[str, Any] = {"tune": "auto", "epochs": 2, "ema": 0.9}


@pytest.fixture(scope="module")
def auto_run(same_settings: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run with all stages, whatever val says of them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(advance, "_why_not", lambda *_: "")
        patch.setattr(advance, "SMALL_VAL", 0)  # Cross-validation, too, might leave a stage out.
        run = tl.finetune(out=tmp_path_factory.mktemp("auto") / "run", **same_settings, **AUTO)
    assert list(run.summary["stages"]) == ["probe", "last-stage", "tune"]
    assert len(metrics(run.path)) == 12 + 2 * 2 * (3 + 1)
    return run


@pytest.mark.parametrize("name", VARIANTS)
def test_resume_of_a_stopped_run_ends_with_the_same_bits(name: str, settings: dict[str, Any], tmp_path: Path):
    settings |= VARIANTS[name]
    whole = tl.finetune(out=tmp_path / "whole", **settings)
    records = len(metrics(whole.path))
    out = tmp_path / "stopped"
    with pytest.raises(RunInterruptedError, match=r'Resume with: tl_toolkit\.resume\("'):
        tl.finetune(out=out, callback=stop_after(records // 2), **settings)
    assert tl.load(out).class_names == ("0", "1", "7")  # the best so far
    with pytest.raises(RunInterruptedError):
        tl.resume(out, callback=stop_after(2))
    before, events = metrics(out), list[Event]()
    resumed = tl.resume(out, callback=events.append)
    assert_same_run(resumed.path, whole.path)
    earlier = [event for event in events if isinstance(event, EarlierRecords)]
    assert [[record.step for record in event.records] for event in earlier] == [[line["step"] for line in before]]
    kept = {"run", "model", *TIMES}
    assert {key: value for key, value in resumed.summary.items() if key not in kept} == {
        key: value for key, value in whole.summary.items() if key not in kept
    }


@pytest.mark.parametrize("records", [5, 13, 20, 21, 26])
def test_resume_of_a_run_that_tunes_by_itself_from_any_stage_ends_with_the_same_bits(
    records: int, settings: dict[str, Any], auto_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """After record 12 the probe is over, after 20 the last stage."""
    monkeypatch.setattr(advance, "_why_not", lambda *_: "")
    monkeypatch.setattr(advance, "SMALL_VAL", 0)
    with pytest.raises(RunInterruptedError):
        tl.finetune(out=tmp_path / "stopped", callback=stop_after(records), **settings, **AUTO)
    assert_same_run(tl.resume(tmp_path / "stopped").path, auto_run.path)


def test_resume_without_a_checkpoint_begins_anew(settings: dict[str, Any], tmp_path: Path):
    settings |= VARIANTS["linear-probe"]
    whole = tl.finetune(out=tmp_path / "whole", **settings)
    again = shutil.copytree(whole.path, tmp_path / "again")
    for name in ("checkpoint.safetensors", "model.safetensors", "summary.json"):
        (again / name).unlink()
    assert_same_run(tl.resume(again).path, whole.path)


def test_resume_after_the_last_step_writes_what_is_missing(settings: dict[str, Any], tmp_path: Path):
    settings |= VARIANTS["linear-probe"]
    whole = tl.finetune(out=tmp_path / "whole", save=("state-dict",), **settings)
    again = shutil.copytree(whole.path, tmp_path / "again")
    for name in ("model.safetensors", "last.safetensors", "summary.json", "curves.png"):
        (again / name).unlink()
    (again / ".model.safetensors.1234.tmp").touch()
    resumed = tl.resume(again)
    assert_same_run(resumed.path, whole.path)
    assert sorted(path.name for path in again.iterdir()) == sorted(path.name for path in whole.path.iterdir())


def test_resume_of_a_finished_run_says_that_it_is_finished(tiny_run: Run):
    told: list[Event] = []
    again = tl.resume(tiny_run.path, callback=told.append)
    assert again.summary == tiny_run.summary
    assert told == [
        DecisionEvent("resume", "nothing to do", f"{tiny_run.path} is finished; epochs=N trains it for longer")
    ]


def test_resume_of_a_finished_run_with_more_epochs_goes_on(settings: dict[str, Any], tmp_path: Path):
    run = tl.finetune(out=tmp_path / "run", tune="full", epochs=1, **settings)
    longer = tl.resume(run.path, epochs=3)
    assert longer.summary["epochs"] == 3
    lines = metrics(run.path)
    assert [line["epoch"] for line in lines if "val_loss" in line] == [1, 2, 3]
    assert [line["step"] for line in lines if "val_loss" not in line] == list(range(1, 10))
    assert tl.resume(run.path).summary["epochs"] == 3  # its config.yaml says so now


def test_resume_with_fewer_epochs_than_are_done_is_refused(settings: dict[str, Any], tmp_path: Path):
    with pytest.raises(RunInterruptedError):
        tl.finetune(out=tmp_path / "run", tune="full", epochs=3, callback=stop_after(7), **settings)
    with pytest.raises(UsageError, match="epochs must be 2 or more"):
        tl.resume(tmp_path / "run", epochs=1)


def test_resume_with_changed_settings_names_them(stopped_run: Path):
    config = stopped_run / "config.yaml"
    config.write_text(config.read_text().replace("batch_size: 32", "batch_size: 16"))
    with pytest.raises(UsageError, match=r"batch_size in config.yaml changed since its checkpoint"):
        tl.resume(stopped_run)
    with pytest.raises(UsageError, match="has the settings of its config.yaml: learning_rate cannot change"):
        tl.resume(stopped_run, learning_rate=0.1)


def test_resume_while_another_process_trains_there_is_refused(stopped_run: Path):
    with (
        filelock.FileLock(stopped_run / LOCK_FILE),
        pytest.raises(UsageError, match="Another process is training in"),
    ):
        tl.resume(stopped_run)


def test_resume_of_what_is_no_run_says_so(tmp_path: Path, in_folder: Path):
    (in_folder / "runs" / "2026-01-01-lenet5-digits").mkdir(parents=True)
    (in_folder / "runs" / "2026-01-01-lenet5-digits" / "config.yaml").touch()
    with pytest.raises(UsageError, match="is not a run folder: .* Did you mean runs/2026-01-01-lenet5-digits"):
        tl.resume("runs/2026-01-01-lenet5-digit")
    with pytest.raises(UsageError, match="is not a run folder"):
        tl.resume(tmp_path / "nothing")


def test_resume_of_a_run_on_python_objects_needs_them_again(settings: dict[str, Any], tmp_path: Path):
    images = torch.randint(0, 255, (40, 1, 28, 28), dtype=torch.uint8)
    data = (images, [0, 1] * 20)
    settings |= {"arch": "lenet5", "tune": "full", "epochs": 2, "data": data, "image_size": 28, "arch_options": ()}
    with pytest.raises(RunInterruptedError):
        tl.finetune(out=tmp_path / "run", callback=stop_after(2), **settings)
    with pytest.raises(UsageError, match="resume it in Python"):
        tl.resume(tmp_path / "run")
    assert tl.resume(tmp_path / "run", data=data).summary["epochs"] == 2
    whole = tl.finetune(out=tmp_path / "whole", **settings)
    assert_same_run(tmp_path / "run", whole.path)


def test_resume_of_a_run_that_patience_ended_stays_ended(settings: dict[str, Any], tmp_path: Path):
    events: list[Event] = []
    patient = settings | {"tune": "full", "epochs": 30, "patience": 1, "learning_rate": 1e-9, "ema": 0.0}
    patient["norm"] = "frozen"  # So that val never changes.
    run = tl.finetune(out=tmp_path / "run", callback=events.append, **patient)
    evaluated = [line for line in metrics(run.path) if "val_loss" in line]
    assert 2 <= len(evaluated) < 5
    told = [event for event in events if isinstance(event, DecisionEvent) and event.what == "stopped"]
    assert told == [DecisionEvent("stopped", f"tune after step {3 * len(evaluated)}", "patience=1")]
    again = shutil.copytree(run.path, tmp_path / "again")
    for name in ("summary.json", "model.safetensors", "last.safetensors"):
        (again / name).unlink()
    assert_same_run(tl.resume(again).path, run.path)


@pytest.mark.parametrize("given", [{"epochs": 20}, {"epochs": 20, "patience": 1}])
def test_resume_of_a_finished_run_that_left_stages_out_has_nothing_to_do(
    given: dict[str, Any], settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(advance, "_why_not", lambda *_: "not today")
    run = tl.finetune(out=tmp_path / "run", tune="auto", **given, **settings)
    assert list(run.summary["stages"]) == ["probe"]
    told: list[Event] = []
    assert tl.resume(run.path, callback=told.append).summary == run.summary
    assert [event.value for event in told if isinstance(event, DecisionEvent)] == ["nothing to do"]


def test_resume_for_more_epochs_that_is_stopped_goes_on_without_being_told_again(
    settings: dict[str, Any], tmp_path: Path
):
    run = tl.finetune(out=tmp_path / "run", tune="full", epochs=1, **settings)
    with pytest.raises(RunInterruptedError):
        tl.resume(run.path, callback=stop_after(2), epochs=3)
    assert tl.resume(run.path).summary["epochs"] == 3


def test_resume_of_a_run_whose_time_is_over_ends_with_its_best(settings: dict[str, Any], tmp_path: Path):
    settings |= {"tune": "full", "epochs": 4, "time_budget": "1h"}
    with pytest.raises(RunInterruptedError):
        tl.finetune(out=tmp_path / "run", callback=stop_after(6), **settings)
    path = tmp_path / "run" / CHECKPOINT_FILE
    kept = Checkpoint.read(path)
    assert kept
    dataclasses.replace(kept, seconds=3601.0).write(path)
    run = tl.resume(tmp_path / "run")
    assert run.summary["best_epoch"] == 1
    assert [line["epoch"] for line in metrics(run.path) if "val_loss" in line] == [1]
