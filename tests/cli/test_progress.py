import io
import re
from typing import Any

import pytest
from rich.console import Console

from tests.helpers.events import EVENTS, HISTORY, epoch_record
from tl_toolkit.cli.progress import ProgressDisplay
from tl_toolkit.events import (
    DecisionEvent,
    EarlierRecords,
    Event,
    FileWritten,
    TaskProgress,
    TrainingProgress,
)


def draw(events: list[Event], width: int = 100, terminal: bool = False, **options: Any) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=terminal, highlight=False)
    with ProgressDisplay(console, **options) as display:
        for event in events:
            display(event)
    assert display.written == [(event.path, event.what) for event in events if isinstance(event, FileWritten)]
    return console.file.getvalue()


def without_escapes(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)


def test_progress_display_without_a_terminal_prints_choices_warnings_and_each_epoch_in_parts():
    assert draw(EVENTS) == HISTORY


def test_progress_display_in_a_terminal_shows_the_best_val_so_far_in_green():
    shown = draw(EVENTS, terminal=True)
    assert re.findall(r"\x1b\[32mval +(\S+) %\x1b\[0m", shown) == ["70.0", "100.0"]


@pytest.mark.parametrize("width", [60, 80])
def test_progress_display_in_a_terminal_fits_into_its_width(width: int):
    shown = without_escapes(draw(EVENTS, width=width, terminal=True))
    assert max(len(line.rstrip()) for line in shown.splitlines()) <= width
    assert ("62.5 %  245 images/s" in shown) == (width == 80)


def test_progress_display_of_a_resumed_run_shows_in_green_what_is_better_than_before():
    earlier = EarlierRecords((epoch_record("tune", 1, 3, 1.0, 0.5, 0.7, 9.0),))
    events = [earlier, *(epoch_record("tune", epoch, 3, 1.0, 0.5, val, 9.0) for epoch, val in ((2, 0.65), (3, 0.75)))]
    assert re.findall(r"\x1b\[32mval +(\S+) %\x1b\[0m", draw(events, terminal=True)) == ["75.0"]
    assert len(draw(events).splitlines()) == 3  # Two epochs, and an empty line.


def test_progress_display_at_60_columns_wraps_a_reason_between_words_below_the_value():
    choice = DecisionEvent("tune", "auto", "the head, the last stage, then everything, as long as it pays")
    assert [line for line in without_escapes(draw([choice], width=60, terminal=True)).splitlines() if line] == [
        "tune        auto  the head, the last stage, then everything,",
        "            as long as it pays",
    ]


def test_progress_display_when_quiet_prints_only_warnings():
    assert draw(EVENTS, quiet=True) == "Warning: The bundled weights know far less than ImageNet's.\n"


def test_progress_display_when_verbose_prints_details_too():
    assert "workers     2  by cores and images\n" in draw(EVENTS, verbose=True)


def test_progress_display_without_a_terminal_prints_progress_of_a_long_epoch_every_half_minute():
    times = iter(range(0, 1000, 10))  # Ten seconds between any two looks at the clock.
    steps = [TrainingProgress("tune", 1, 2, step, 100, 1.5, 0.5, 250.0) for step in range(10, 100, 10)]
    lines = draw(steps, clock=lambda: float(next(times))).splitlines()[:-1]
    assert [line.split("images/s")[0] for line in lines] == ["tune          1/2  loss 1.500  train 50.0 %  250 "] * len(
        lines
    )
    assert len(lines) == 3
    assert re.fullmatch(r".*images/s  [1-9]\d* min( \d+ s)? left", lines[0])


def test_progress_display_without_a_terminal_prints_progress_of_a_long_task():
    times = iter([0.0, 0.0, 0.0, 40.0, 40.0, 40.0])
    events: list[Event] = [TaskProgress("check", 0, 10_000), TaskProgress("check", 4_000, 10_000)]
    assert draw(events, clock=lambda: next(times)) == "check       4,000 of 10,000 images  1 min left\n\n"


def test_progress_display_separates_preparation_from_choices():
    times = iter([0.0, 0.0, 40.0, 40.0, 80.0, 80.0, 80.0])
    events: list[Event] = [
        TaskProgress("rank resnet18 64 px", 500, None),
        DecisionEvent("arch", "resnet18"),
        TaskProgress("features", 5, 10),
        DecisionEvent("tune", "left out"),
    ]
    assert (
        draw(events, clock=lambda: next(times))
        == """
rank resnet18 64 px  500 images

arch        resnet18

features    5 of 10 images
tune        left out

"""[1:]
    )


def test_progress_display_prints_the_epochs_of_a_long_probe_every_half_minute():
    now = [0.0]

    def epochs() -> list[Event]:
        return [epoch_record("probe", epoch, 4, 1.0, 0.5, 0.5, 9.0) for epoch in range(1, 5)]

    console = Console(file=io.StringIO(), width=100, highlight=False)
    with ProgressDisplay(console, clock=lambda: now[0]) as display:
        for event in epochs():
            now[0] += 20
            display(event)
    assert [line.split()[1] for line in console.file.getvalue().splitlines()[:-1]] == ["2/4", "4/4"]
