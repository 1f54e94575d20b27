"""Run folders: compared, and stopped on the way."""

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from tl_toolkit.events import EvalRecord, Event, StepRecord

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
