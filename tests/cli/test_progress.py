import io
import re
from pathlib import Path

import pytest
from rich.console import Console

from tl_toolkit.cli.progress import Narration
from tl_toolkit.recipes.events import Chosen, Counted, Event, Warned, Wrote
from tl_toolkit.training.loop import EpochRecord, Progress

EVENTS: list[Event] = [
    Chosen("arch", "torchvision:resnet18", "resnet18 is in torchvision"),
    Warned("1 image cannot be read and is left out."),
    Counted("features", 64, 128),
    EpochRecord("probe", 1, 1, 2.0, 0.3, 1.9, 0.4, 0.1, 1.0, 9000.0),
    Progress("tune", 1, 2, 5, 10, 1.5, 0.5, 250.0),
    EpochRecord("tune", 1, 2, 1.4, 0.5, 1.3, 0.625, 0.1, 1.0, 245.0),
    EpochRecord("tune", 2, 2, 1.2, 0.6, 1.1, 0.75, 0.1, 1.0, 245.0),
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
