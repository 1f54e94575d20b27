"""Run folders: compared, and stopped on the way."""

import json
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import load_file

from tests.helpers.events import eval_record
from tl_toolkit.config.finetune import FinetuneConfig
from tl_toolkit.events import EvalRecord, Event, StepRecord
from tl_toolkit.metrics.predictions import Predictions
from tl_toolkit.runs.folder import write_config
from tl_toolkit.runs.predictions_file import save_predictions
from tl_toolkit.runs.summary import write_summary

TIMES = ("seconds", "images_per_second")


def metrics(run: Path) -> list[dict[str, Any]]:
    """Return the lines of metrics.jsonl without their times."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name not in TIMES} for line in lines]


def assert_same_weights(run: Path, other: Path, *files: str) -> None:
    """Assert that two runs ended with the same weights, to the bit.

    Args:
        run: A run's folder.
        other: Another run's folder.
        files: What to compare; last.safetensors by default.
    """
    for name in files or ("last.safetensors",):
        one, two = load_file(run / name), load_file(other / name)
        assert one.keys() == two.keys()
        for key, value in one.items():
            assert torch.equal(value, two[key]), (name, key)


def assert_same_run(run: Path, other: Path) -> None:
    """Assert that two runs have the same metrics and weights, to the bit."""
    assert metrics(run) == metrics(other)
    assert_same_weights(run, other, "last.safetensors", "model.safetensors")


def stop_after(records: int, number: int = signal.SIGINT) -> Callable[[Event], None]:
    """Return a callback that asks the run to stop when so many records were written."""
    left = records

    def callback(event: Event) -> None:
        nonlocal left
        if isinstance(event, EvalRecord | StepRecord):
            left -= 1
            if left == 0:
                os.kill(os.getpid(), number)

    return callback


def write_run(
    folder: Path,
    predictions: Mapping[str, Predictions] | None = None,
    class_names: Sequence[str] = ("cat", "dog"),
    settings: Mapping[str, Any] | None = None,
    **summary: Any,
) -> Path:
    """Write a run folder that is finished, without a model.

    Args:
        folder: The folder.
        predictions: What it keeps of each split.
        class_names: Its classes.
        settings: Settings that are not the defaults.
        summary: Values of summary.json.

    Returns:
        The folder.
    """
    folder.mkdir(parents=True)
    values = FinetuneConfig().to_dict() | dict(settings or {})
    write_config(folder, yaml.safe_dump(values), 1)
    kept = predictions or {}
    counts = {f"{split}_images": len(kept.get(split, ())) for split in ("val", "test")}
    stages = {"probe": {"val_accuracy": 0.9, "epoch": 3}}
    results = {"val_accuracy": 0.9, "test_accuracy": None, "class_accuracy": {}, "seconds": 8.0, "bad_images": []}
    of_run = {"run": str(folder), "epochs": 3, "best_stage": "probe", "best_epoch": 3, "stages": stages}
    facts = {"arch": "timm:small", "weights": "none", "data": "photos", "tune": "auto", "classes": len(class_names)}
    names = {"class_names": list(class_names), "train_images": 20}
    write_summary(folder, {**of_run, **facts, **names, **results, **counts, **summary})
    (folder / "metrics.jsonl").write_text(f"{json.dumps(eval_record('probe', 3, 3).to_dict())}\n")
    if kept:
        save_predictions(folder, kept, class_names)
    return folder
