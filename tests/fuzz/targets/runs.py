"""What a run folder holds: a checkpoint, metrics.jsonl and summary.json."""

import dataclasses
import functools
import json
import os
from typing import Any

from tests.fuzz.targets.base import (
    METADATA_FORM,
    RAW_FORM,
    Target,
    header_of,
    only_toolkit_errors,
    own_folder,
    whole_file,
    write_file,
)


def checkpoint(data: bytes) -> None:
    """Read a checkpoint.safetensors and restore everything from it."""
    import torch

    from tl_toolkit.runs.checkpoint import Checkpoint
    from tl_toolkit.runs.resuming import check_resumable
    from tl_toolkit.training import state as state_of
    from tl_toolkit.training.schedules import make_schedule

    path = write_file("checkpoint.safetensors", whole_file(data, _checkpoint_file))
    with only_toolkit_errors():
        kept = Checkpoint.read(path)
        assert kept
        check_resumable(kept.resume_fingerprint, {"settings": {}, "train": "2 images"}, path.parent)
        module, optimizer = _learner()
        state_of.restore_weights(module, ("",), kept.state)
        state_of.check_weights(module, kept.weights_of_best())
        state_of.restore_optimizer(optimizer, kept.state)
        make_schedule(optimizer, "cosine", 10, 0.1, kept.state.step)
        position = state_of.restore_progress(kept.state, module, torch.device("cpu"))
        position.epoch(3)
        state_of.restore_random(kept.state)
        module.load_state_dict(module.state_dict() | kept.weights_of_best())
        int(torch.randint(9, ()))


def _learner() -> tuple[Any, Any]:
    from torch import nn

    from tl_toolkit.training.optimizers import make_optimizer

    module = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    return module, make_optimizer("adamw", module, ("2",), 0.1, 0.1, 0.1, 0.9)


@functools.cache
def _checkpoint_file() -> bytes:
    """Return a checkpoint of a stage after a step."""
    import torch

    from tl_toolkit.events import EvalRecord
    from tl_toolkit.runs.checkpoint import Checkpoint
    from tl_toolkit.training.loop import Stage, StageProgress
    from tl_toolkit.training.losses import Criterion
    from tl_toolkit.training.plan import StageConfig
    from tl_toolkit.training.schedules import make_schedule
    from tl_toolkit.training.state import capture_state

    torch.manual_seed(0)
    module, optimizer = _learner()
    schedule = make_schedule(optimizer, "cosine", 10, 0.1)
    module(torch.rand(5, 3)).sum().backward()
    optimizer.step()
    schedule.step()
    stage = Stage("tune", module, ("",), optimizer, schedule, [], [], _same, 1, 2, Criterion(), None)
    position = StageProgress(torch.device("cpu"))
    position.step = 1
    path = own_folder() / "true-checkpoint.safetensors"
    best = EvalRecord("tune", 1, 1, 1, 1, 1.0, 0.5, 1.0, 0.5, 0.1, 5, 1.0, 5.0)
    Checkpoint(
        stage=0,
        settings=StageConfig("tune", 1, "adamw", 0.1, 0.1, 0.1),
        state=capture_state(stage, position),
        best=best,
        best_weights={name: value.clone() for name, value in module.state_dict().items()},
        metrics_bytes=10,
        seconds=1.0,
        resume_fingerprint={"settings": {}, "train": "2 images"},
    ).write(path)
    return path.read_bytes()


def _same(batch: Any) -> Any:
    return batch


def _checkpoint_seeds() -> list[bytes]:
    file = _checkpoint_file()
    metadata = json.loads(header_of(file))["__metadata__"]
    in_layers = {"checkpoint": json.loads(metadata["checkpoint"])}
    return [METADATA_FORM + json.dumps(in_layers).encode(), RAW_FORM + file]


def metrics(data: bytes) -> None:
    """Read a metrics.jsonl."""
    from tl_toolkit.io.own_files import METRICS_FILE
    from tl_toolkit.runs.metrics_log import read_metrics

    folder = own_folder() / f"{os.getpid()}-run"
    folder.mkdir(exist_ok=True)
    (folder / METRICS_FILE).write_bytes(data)
    with only_toolkit_errors():
        for one in read_metrics(str(folder)):
            assert one.improves_on(None)
            assert f"{one.val_accuracy:.1%}"


def _metrics_seeds() -> list[bytes]:
    from tl_toolkit.events import EvalRecord, StepRecord

    judged = EvalRecord("tune", 1, 1, 1, 1, 1.0, 0.5, 1.0, 0.5, 0.1, 5, 1.0, 5.0)
    lines = [json.dumps(dataclasses.asdict(one)) for one in (StepRecord("tune", 1, 1, 0.5, 0.5, 0.1), judged)]
    return ["".join(f"{line}\n" for line in lines).encode(), f"{lines[1]}\n{{".encode(), f"{lines[1]}\n".encode()]


def summary(data: bytes) -> None:
    """Read a summary.json."""
    from tl_toolkit.io.files import format_seconds
    from tl_toolkit.runs.summary import SUMMARY_FILE, read_summary

    folder = own_folder() / f"{os.getpid()}-run"
    folder.mkdir(exist_ok=True)
    (folder / SUMMARY_FILE).write_bytes(data)
    with only_toolkit_errors():
        read = read_summary(folder)
        assert read
        assert f"{read['val_images']:,} {read['val_accuracy']:.1%} {format_seconds(read['seconds'])}"
        if "stages" in read:
            assert read["stages"][read["best_stage"]] is not None


def _summary_seeds() -> list[bytes]:
    counts = {"epochs": 3, "val_images": 5, "test_images": 0}
    results = {"val_accuracy": 0.5, "test_accuracy": None, "seconds": 1.5, "class_accuracy": {"a": 0.5, "ü": 1}}
    early = {"run": "runs/a", "bad_images": [], **counts, **results}
    stages = {"probe": {"val_accuracy": 0.5, "epoch": 3}, "tune": 0.25}
    return [
        json.dumps(early | more).encode() for more in ({}, {"best_stage": "probe", "best_epoch": 3, "stages": stages})
    ]


TARGETS = {
    "checkpoint": Target(checkpoint, _checkpoint_seeds, json_after=1),
    "metrics": Target(metrics, _metrics_seeds, json_after=0),
    "summary": Target(summary, _summary_seeds, json_after=0),
}
