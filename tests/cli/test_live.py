"""The live view in an emulated terminal, and in one that the system makes."""

import io
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pyte
import pytest
from rich.console import Console

from tests.helpers.events import EVENTS, HISTORY, eval_record
from tests.helpers.terminal import shown_on
from tl_toolkit.cli.live import can_redraw
from tl_toolkit.cli.progress import ProgressDisplay
from tl_toolkit.events import Event, TaskProgress, TrainingProgress, WarningEvent

SHOW_CURSOR, HIDE_CURSOR = "\x1b[?25h", "\x1b[?25l"


class Terminal:
    """A terminal that a display draws on."""

    def __init__(self, width: int, height: int) -> None:
        self.screen = pyte.Screen(width, height)
        self.console = Console(
            file=io.StringIO(), width=width, height=height, force_terminal=True, highlight=False, _environ={}
        )
        self._read = 0

    def lines(self) -> list[str]:
        """Return what it shows now."""
        output = self.console.file.getvalue()
        new, self._read = output[self._read :], len(output)
        return shown_on(self.screen, new)


def draw_now(display: ProgressDisplay) -> None:
    """Draw at once what the next refresh would."""
    display._live._block.refresh()


def still(console: Console) -> ProgressDisplay:
    """A display that draws only when told to, so that nothing is drawn while a test changes the terminal."""
    display = ProgressDisplay(console, clock=lambda: 0.0)
    display._live._block.auto_refresh = False
    return display


@pytest.fixture
def terminal() -> Terminal:
    return Terminal(100, 24)


@pytest.mark.parametrize(("width", "height"), [(100, 30), (80, 30)])
def test_live_view_leaves_the_lines_that_a_pipe_gets(width: int, height: int):
    terminal = Terminal(width, height)
    with ProgressDisplay(terminal.console) as display:
        for event in EVENTS:
            display(event)
            draw_now(display)
    assert terminal.lines() == HISTORY.rstrip("\n").split("\n")
    assert terminal.console.file.getvalue().rpartition(HIDE_CURSOR)[2].count(SHOW_CURSOR) == 1


def test_live_view_shows_the_stage_below_the_lines_that_stay(terminal: Terminal):
    with ProgressDisplay(terminal.console, clock=lambda: 0.0) as display:
        display(eval_record("tune", 1, 2, val_accuracy=0.75))
        display(TrainingProgress("tune", 2, 2, 5, 10, 0.5, 0.9, 250.0, learning_rate=0.001))
        draw_now(display)
        shown = terminal.lines()
        assert shown[0].startswith("tune          1/2  loss 1.000")
        assert [line.split()[0] for line in shown] == ["tune", "tune", "train", "val", "lr"]
        display(WarningEvent("The disk is nearly full."))
        display(TrainingProgress("tune", 2, 2, 6, 10, 0.5, 0.9, 250.0, learning_rate=0.001))
        draw_now(display)
        shown = terminal.lines()
        assert shown[:4] == [
            "tune          1/2  loss 1.000  train  50.0 %  val  75.0 %  320 images/s",
            "",
            "Warning: The disk is nearly full.",
            "tune          2/2  ━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━  80 %",
        ]
        assert len(shown) == 7


def test_live_view_changes_between_tasks_and_stages(terminal: Terminal):
    def first_words(event: Event) -> list[str]:
        display(event)
        draw_now(display)
        return [line.split()[0] for line in terminal.lines() if line]

    with ProgressDisplay(terminal.console) as display:
        assert first_words(TaskProgress("features", 5, 10)) == ["features"]
        assert terminal.lines() == ["features   ━━━━━━━━━━╺━━━━━━━━━ 5 of 10 images --:--"]
        assert first_words(TrainingProgress("last-stage", 1, 2, 1, 9, 1.0, 0.5, 9.0)) == [
            "last-stage",
            "train",
            "val",
            "9",
        ]
        assert first_words(TaskProgress("decode", 5, 10)) == ["decode"]
        assert first_words(TrainingProgress("last-stage", 1, 2, 2, 9, 1.0, 0.5, 9.0)) == [
            "last-stage",
            "train",
            "val",
            "9",
        ]
        assert first_words(TrainingProgress("tune", 1, 2, 2, 9, 1.0, 0.5, 9.0)) == ["tune", "train", "val", "9"]
    assert terminal.lines() == [""]


@pytest.mark.parametrize("height", [1, 2, 3, 5, 6, 8])
def test_live_view_in_a_low_terminal_keeps_the_last_line_in_sight(height: int):
    terminal = Terminal(60, height)
    with ProgressDisplay(terminal.console) as display:
        for epoch in range(1, 9):
            display(eval_record("tune", epoch, 9))
            draw_now(display)
        shown = terminal.lines()
        assert len(shown) <= height
        assert sum(line.startswith("tune          8/9  loss") for line in shown) == (height > 1)
    assert not any(line.startswith(("train", "val ")) for line in terminal.lines())


@pytest.mark.parametrize("columns", [99, 60, 40, 21])
def test_live_view_finds_its_lines_again_in_a_terminal_that_became_narrower(terminal: Terminal, columns: int):
    with still(terminal.console) as display:
        display(eval_record("tune", 1, 2))
        display(TrainingProgress("tune", 2, 2, 5, 10, 0.5, 0.9, 250.0, learning_rate=0.001))
        draw_now(display)
        before = terminal.lines()
        # The terminal wraps what is on it.
        narrow = Terminal(columns, 40)
        pieces = [line[start : start + columns] for line in before for start in range(0, max(len(line), 1), columns)]
        shown_on(narrow.screen, "\n".join(pieces))
        terminal.screen, terminal.console.width = narrow.screen, columns
        draw_now(display)
        shown = terminal.lines()
        kept = -(-len(before[0]) // columns)
        assert shown[:kept] == [piece.rstrip() for piece in pieces[:kept]]
        assert len(shown) == kept + 4
        draw_now(display)
        assert terminal.lines() == shown
    assert len(terminal.lines()) == kept


def test_live_view_ends_with_an_error_and_shows_the_cursor(terminal: Terminal):
    with pytest.raises(KeyboardInterrupt), ProgressDisplay(terminal.console) as display:
        display(TrainingProgress("tune", 2, 2, 5, 10, 0.5, 0.9, 250.0))
        draw_now(display)
        raise KeyboardInterrupt
    assert terminal.lines() == [""]
    assert terminal.console.file.getvalue().rpartition(HIDE_CURSOR)[2].count(SHOW_CURSOR) == 1


@pytest.mark.parametrize(
    ("environment", "terminal", "redraws"),
    [
        ({}, True, True),
        ({}, False, False),
        ({"TERM": "dumb"}, True, False),
        ({"TERM": "xterm", "NO_COLOR": "1"}, True, True),
        ({"TTY_INTERACTIVE": "0"}, True, False),
    ],
)
def test_can_redraw_only_in_a_terminal_that_moves_its_cursor(
    environment: dict[str, str], terminal: bool, redraws: bool, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    console = Console(file=io.StringIO(), force_terminal=terminal, _environ=environment)
    assert can_redraw(console) == redraws


def test_can_redraw_not_in_a_log_whose_colours_are_forced(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert not can_redraw(Console(file=io.StringIO()))


def test_progress_display_on_a_dumb_terminal_prints_what_a_pipe_gets():
    console = Console(file=io.StringIO(), width=100, force_terminal=True, highlight=False, _environ={"TERM": "dumb"})
    with ProgressDisplay(console) as display:
        for event in EVENTS:
            display(event)
    assert console.file.getvalue() == HISTORY


SCRIPT = """
import time
from tests.helpers.events import eval_record
from tl_toolkit.cli.console import status_console
from tl_toolkit.cli.progress import ProgressDisplay
from tl_toolkit.events import TrainingProgress

with ProgressDisplay(status_console(to_stderr=False)) as display:
    display(eval_record("tune", 1, 2))
    for step in range(1, 1000):
        display(TrainingProgress("tune", 2, 2, step, 1000, 0.5, 0.9, 250.0))
        time.sleep(0.05)
"""


@pytest.fixture
def pseudo_terminal() -> Iterator[tuple[int, int]]:
    ends = pty.openpty()
    yield ends
    for end in ends:
        os.close(end)


def read_available(terminal: int) -> str:
    """Return what was written to a terminal and not read yet."""
    pieces = []
    while select.select([terminal], [], [], 0.1)[0]:
        pieces.append(os.read(terminal, 65536))
    return b"".join(pieces).decode()


@pytest.mark.parametrize("environment", [{"TERM": "xterm"}, {"TERM": "dumb"}], ids=["xterm", "dumb"])
def test_live_view_in_a_real_terminal_is_gone_after_ctrl_c(
    pseudo_terminal: tuple[int, int], environment: dict[str, str]
):
    ours, theirs = pseudo_terminal
    command = [sys.executable, "-c", SCRIPT]
    variables = {**os.environ, "COLUMNS": "80", "LINES": "24", "PYTHONIOENCODING": "utf-8", **environment}
    process = subprocess.Popen(command, stdout=theirs, stderr=subprocess.DEVNULL, stdin=theirs, env=variables)
    screen, output = pyte.Screen(80, 24), ""
    awaited = "train       " if environment["TERM"] == "xterm" else "1/2  loss"
    started = time.monotonic()
    while awaited not in output and time.monotonic() - started < 60:
        output += read_available(ours)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    process.wait(timeout=60)
    output += read_available(ours)
    pyte.Stream(screen).feed(output)
    shown = [line.rstrip() for line in screen.display]
    assert [line for line in shown if line] == [
        "tune          1/2  loss 1.000  train  50.0 %  val  50.0 %  320 images/s"
    ]
    assert not screen.cursor.hidden
    assert (HIDE_CURSOR in output) == (environment["TERM"] == "xterm")
