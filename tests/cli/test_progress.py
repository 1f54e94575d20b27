import io
import re
from pathlib import Path

import pytest
from rich.console import Console

from tests.conftest import eval_record
from tl_toolkit.cli.progress import Narration
from tl_toolkit.recipes.events import Chosen, Counted, Event, Warned, Wrote
from tl_toolkit.training.records import EvalRecord, Progress, StepRecord


def _record(stage: str, epoch: int, epochs: int, loss: float, train: float, val: float, speed: float) -> EvalRecord:
    values = {"train_loss": loss, "train_accuracy": train, "val_accuracy": val, "images_per_second": speed}
    return eval_record(stage, epoch, epochs, **values)


EVENTS: list[Event] = [
    Chosen("arch", "torchvision:resnet18", "resnet18 is in torchvision"),
    Warned("1 image cannot be read and is left out."),
    Counted("features", 64, 128),
    _record("probe", 1, 1, 2.0, 0.3, 0.4, 9000.0),
    Progress("tune", 1, 2, 5, 10, 1.5, 0.5, 250.0),
    StepRecord("tune", 1, 7, 1.45, 0.5, 0.0123),
    eval_record("tune", 1, 2, step=8, train_loss=1.5, train_accuracy=0.5, val_accuracy=0.5, images_per_second=245.0),
    _record("tune", 1, 2, 1.4, 0.5, 0.625, 245.0),
    _record("tune", 2, 2, 1.2, 0.6, 0.75, 245.0),
    Wrote(Path("run/model.safetensors"), "the best weights"),
]


def drawn(width: int, terminal: bool, quiet: bool = False) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=terminal, highlight=False)
    with Narration(console, quiet) as narration:
        for event in EVENTS:
            narration(event)
    assert narration.written == [(Path("run/model.safetensors"), "the best weights")]
    return console.file.getvalue()


def test_narration_without_a_terminal_writes_a_line_for_each_epoch():
    assert drawn(100, terminal=False).splitlines()[2:] == [
        "probe 1/1 loss 2.000 acc 30.0 % val 40.0 % 9,000 images/s",
        "tune epoch 1 step 7 loss 1.450 acc 50.0 % lr 0.0123",
        "tune 1/2 loss 1.500 acc 50.0 % val 50.0 % 245 images/s at step 8",
        "tune 1/2 loss 1.400 acc 50.0 % val 62.5 % 245 images/s",
        "tune 2/2 loss 1.200 acc 60.0 % val 75.0 % 245 images/s",
    ]


@pytest.mark.parametrize("width", [60, 100])
def test_narration_in_a_terminal_draws_a_bar_for_each_stage(width: int):
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", drawn(width, terminal=True))
    last = text.splitlines()[-3:]
    assert [line.split()[0] for line in last] == ["features", "probe", "tune"]
    assert "val 75.0 %" in last[2]
    assert all(len(line) <= width for line in text.splitlines())


def test_narration_when_quiet_draws_warnings_alone():
    assert drawn(100, terminal=False, quiet=True) == "Warning: 1 image cannot be read and is left out.\n"
