import dataclasses
import os
import re
import shutil
import signal
from pathlib import Path
from typing import Any

import filelock
import pytest
import torch

import tl_toolkit as tl
from tests.helpers.folders import copy_digits
from tests.helpers.runs import TIMES, assert_same_run, metrics, stop_after
from tl_toolkit.errors import ModelFileError, RunInterruptedError, ToolkitError, UsageError
from tl_toolkit.events import DecisionEvent, Event, WarningEvent
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


@pytest.fixture
def settings(tiny_data: Path) -> dict[str, Any]:
    """A run of the smallest network, with three steps an epoch."""
    common: dict[str, Any] = {"data": tiny_data, "arch": "timm:resnet10t", "weights": "none", "image_size": 32}
    return common | {"batch_size": 19, "log_every": 1, "arch_options": ("drop_rate=0.3",)}


AUTO: dict[str, Any] = {"tune": "auto", "epochs": 2, "ema": 0.9}


@pytest.fixture
def auto_run(settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A run with all stages, whatever val says of them."""
    monkeypatch.setattr(advance, "_why_not", lambda *_: "")
    run = tl.finetune(out=tmp_path / "auto", **settings, **AUTO)
    assert list(run.summary["stages"]) == ["probe", "last-stage", "tune"]
    assert len(metrics(run.path)) == 12 + 2 * 2 * (3 + 1)
    return run


@pytest.mark.parametrize("name", VARIANTS)
def test_resume_of_a_stopped_run_ends_with_the_same_bits(name: str, settings: dict[str, Any], tmp_path: Path):
    settings |= VARIANTS[name]
    whole = tl.finetune(out=tmp_path / "whole", **settings)
    records = len(metrics(whole.path))
    out = tmp_path / "stopped"
    with pytest.raises(RunInterruptedError, match=r'Go on with: tl_toolkit\.resume\("'):
        tl.finetune(out=out, callback=stop_after(records // 2), **settings)
    assert tl.load(out).class_names == ("0", "1", "7")  # the best so far
    with pytest.raises(RunInterruptedError):
        tl.resume(out, callback=stop_after(2))
    resumed = tl.resume(out)
    assert_same_run(resumed.path, whole.path)
    kept = {"run", "model", *TIMES}
    assert {key: value for key, value in resumed.summary.items() if key not in kept} == {
        key: value for key, value in whole.summary.items() if key not in kept
    }


@pytest.mark.parametrize("records", [5, 13, 20, 21, 26])
def test_resume_of_a_run_that_tunes_by_itself_from_any_stage_ends_with_the_same_bits(
    records: int, settings: dict[str, Any], auto_run: Run, tmp_path: Path
):
    """After record 12 the probe is over, after 20 the last stage."""
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


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A stopped run, and its data."""
    folder = tmp_path_factory.mktemp("stopped")
    data = copy_digits(folder / "data", ["0", "1"], 12)
    with pytest.raises(RunInterruptedError):
        tl.finetune(
            data=data, arch="lenet5", weights="none", tune="full", epochs=4, out=folder / "run", callback=stop_after(2)
        )
    return folder / "run", data


@pytest.fixture
def stopped_run(stopped: tuple[Path, Path], tmp_path: Path) -> Path:
    """A copy of it."""
    return shutil.copytree(stopped[0], tmp_path / "run")


def test_resume_with_changed_settings_names_them(stopped_run: Path):
    config = stopped_run / "config.yaml"
    config.write_text(config.read_text().replace("batch_size: 32", "batch_size: 16"))
    with pytest.raises(UsageError, match=r"batch_size in config.yaml changed since its checkpoint"):
        tl.resume(stopped_run)
    with pytest.raises(UsageError, match="has the settings of its config.yaml: learning_rate cannot change"):
        tl.resume(stopped_run, learning_rate=0.1)


def test_resume_with_changed_images_is_refused(stopped: tuple[Path, Path], stopped_run: Path):
    image = min((stopped[1] / "0").iterdir())
    extra = shutil.copy(image, image.with_name("another.png"))
    try:
        with pytest.raises(UsageError, match=r"train \(.*before.*now\) .*changed since its checkpoint"):
            tl.resume(stopped_run)
    finally:
        extra.unlink()


def test_resume_while_another_process_trains_there_is_refused(stopped_run: Path):
    with (
        filelock.FileLock(stopped_run / LOCK_FILE),
        pytest.raises(UsageError, match="Another process is training in"),
    ):
        tl.resume(stopped_run)


def test_resume_of_what_is_no_run_says_so(tmp_path: Path, in_folder: Path):
    (in_folder / "runs" / "2026-01-01-lenet5-digits").mkdir(parents=True)
    (in_folder / "runs" / "2026-01-01-lenet5-digits" / "config.yaml").touch()
    with pytest.raises(UsageError, match="is no run: .* Did you mean runs/2026-01-01-lenet5-digits"):
        tl.resume("runs/2026-01-01-lenet5-digit")
    with pytest.raises(UsageError, match="is no run"):
        tl.resume(tmp_path / "nothing")


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
    with pytest.raises(ModelFileError, match="is no checkpoint that tl can go on from"):
        tl.resume(stopped_run)


def test_resume_with_metrics_shorter_than_at_the_checkpoint_says_so(stopped_run: Path):
    (stopped_run / "metrics.jsonl").write_text("")
    with pytest.raises(ToolkitError, match="is shorter"):
        tl.resume(stopped_run)


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


@pytest.mark.parametrize(("every", "steps"), [("2", [2, 4, 6, 8]), ("1h", []), (None, [3, 6])])
def test_checkpoint_is_written_as_often_as_asked(
    every: str | None, steps: list[int], settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("tl_toolkit.runs.recorder.COST_SHARE", 1e9)
    kept: list[int] = []
    from tl_toolkit.runs import recorder

    real = recorder.capture_state

    def noting(stage: Any, position: Any) -> Any:
        kept.append(position.step)
        return real(stage, position)

    monkeypatch.setattr(recorder, "capture_state", noting)
    tl.finetune(out=tmp_path / "run", tune="full", epochs=3, checkpoint_every=every, **settings)
    assert kept[:-1] == (steps if every else [*steps, 9])
    assert kept[-1] == 9  # the last, for more epochs


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
    settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from tl_toolkit.runs import recorder

    kept: list[tuple[str, int]] = []
    real = recorder.capture_state

    def noting(stage: Any, position: Any) -> Any:
        kept.append((stage.name, position.step))
        return real(stage, position)

    monkeypatch.setattr(recorder, "capture_state", noting)
    tl.finetune(out=tmp_path / "run", tune="lp-ft", probe_epochs=2, epochs=1, checkpoint_every="2", **settings)
    assert kept == [("probe", 2), ("probe", 2), ("tune", 2), ("tune", 3)]  # A stage's last step in any case.


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


@pytest.fixture
def moved_data(stopped: tuple[Path, Path], stopped_run: Path, tmp_path: Path) -> Path:
    """The stopped run's images elsewhere, with other times, and no longer where they were."""
    moved = shutil.copytree(stopped[1], tmp_path / "elsewhere" / "photos", copy_function=shutil.copyfile)
    config = stopped_run / "config.yaml"
    config.write_text(config.read_text().replace(str(stopped[1]), str(tmp_path / "gone")))
    return moved


def test_resume_on_images_that_moved_ends_with_the_same_bits(settings: dict[str, Any], tmp_path: Path):
    data = shutil.copytree(settings["data"], tmp_path / "data")
    settings |= {"data": data, "tune": "lp-ft", "probe_epochs": 3, "epochs": 2}
    whole = tl.finetune(out=tmp_path / "whole", **settings)
    with pytest.raises(RunInterruptedError):
        tl.finetune(out=tmp_path / "stopped", callback=stop_after(6), **settings)
    moved = shutil.copytree(data, tmp_path / "elsewhere" / "photos", copy_function=shutil.copyfile)
    shutil.rmtree(data)
    resumed = tl.resume(tmp_path / "stopped", data=moved)
    assert_same_run(resumed.path, whole.path)
    assert resumed.summary["data"] == str(moved)
    longer = tl.resume(resumed.path, epochs=3)  # Its config.yaml has the new place.
    assert longer.summary["epochs"] == 3


def test_resume_on_images_that_are_gone_says_how_to_name_their_place(
    stopped_run: Path, moved_data: Path, tmp_path: Path
):
    with pytest.raises(UsageError) as error:
        tl.resume(stopped_run)
    assert str(error.value) == (
        f"The images of {stopped_run} are not where they were: there is no folder {tmp_path}/gone. Say with data where "
        "they are now; they must be the same ones."
    )
    assert tl.resume(stopped_run, data=str(moved_data)).summary["epochs"] == 4


def test_resume_on_other_images_than_those_that_moved_names_what_differs(stopped_run: Path, moved_data: Path):
    image = min((moved_data / "0").iterdir())
    image.write_bytes(max((moved_data / "1").iterdir()).read_bytes())
    with pytest.raises(UsageError) as error:
        tl.resume(stopped_run, data=moved_data)
    found = re.fullmatch(
        r"(.*) cannot be resumed exactly: (train|val) \((\d+ images), (\w+) before, (\d+ images), (\w+) now\) "
        r"changed since its checkpoint\. Put back what was there, or train a new run: its settings are in .*",
        str(error.value),
    )
    assert found
    assert (found[1], found[3], found[4] != found[6]) == (str(stopped_run), found[5], True)


def test_resume_on_images_that_moved_with_a_class_renamed_is_refused(stopped_run: Path, moved_data: Path):
    (moved_data / "0").rename(moved_data / "00")
    with pytest.raises(UsageError, match=r"exactly: classes \(0, 1 before, 00, 1 now\)"):
        tl.resume(stopped_run, data=moved_data)


def test_resume_of_an_earlier_versions_checkpoint_goes_on_where_its_images_stayed(
    stopped: tuple[Path, Path], stopped_run: Path, tmp_path: Path
):
    path = stopped_run / CHECKPOINT_FILE
    kept = Checkpoint.read(path)
    assert kept
    earlier = {
        name: value for name, value in kept.resume_fingerprint.items() if name != "classes" and "contents" not in name
    }
    earlier["settings"] = {**kept.resume_fingerprint["settings"], "data": str(stopped[1])}
    dataclasses.replace(kept, resume_fingerprint=earlier).write(path)
    moved = shutil.copytree(stopped[1], tmp_path / "moved")
    with pytest.raises(UsageError, match=r"exactly: train \(.* before, .* now\) and val .*changed since"):
        tl.resume(stopped_run, data=moved)
    assert tl.resume(stopped_run).summary["epochs"] == 4


def told_by_resume(run: Path, **changes: Any) -> tuple[Run, list[Event]]:
    told: list[Event] = []
    return tl.resume(run, callback=told.append, **changes), told


def test_resume_with_other_threads_says_what_that_does_to_the_bits(stopped_run: Path):
    own = torch.get_num_threads()
    run, told = told_by_resume(stopped_run, threads=own + 1)
    assert [event.message for event in told if isinstance(event, WarningEvent) and "bits" in event.message] == [
        f"The run goes on with {own + 1} threads (as asked), but had {own}. Sums are then rounded otherwise: it may "
        f"not end with the bits that it would have had. threads={own} ends with them."
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
    with pytest.raises(ModelFileError, match=r"threads must be 1 to 1024, not 1000000"):
        tl.resume(stopped_run)
