"""The display of a run: its decisions, a line for each epoch, and in a terminal what happens now."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal, Self

from rich.console import Console
from rich.text import Text

from tl_toolkit.cli.console import BEST, GAP, NAME_WIDTH, percent, print_blank, print_row, print_warning
from tl_toolkit.cli.live import NARROW, LiveView, can_redraw
from tl_toolkit.cli.training_view import EPOCH_WIDTH
from tl_toolkit.events import (
    PROBE,
    DecisionEvent,
    EarlierRecords,
    EvalRecord,
    Event,
    FileWritten,
    StepRecord,
    TaskProgress,
    TrainingProgress,
    WarningEvent,
)
from tl_toolkit.io.files import format_seconds

Part = Literal["preparing", "choices", "warnings", "training"]

LINE_SECONDS = 30.0
"""Where nothing can be redrawn, a line reports progress at least this often."""


class ProgressDisplay:
    """A callback that displays events: lines that stay, and in a terminal what happens now below them.

    Args:
        console: Where to print.
        quiet: Print only warnings.
        verbose: Print details of decisions too.
        clock: Returns the time in seconds.
    """

    def __init__(
        self, console: Console, quiet: bool = False, verbose: bool = False, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.console = console
        self.quiet = quiet
        self.verbose = verbose
        self.written: list[tuple[Path, str]] = []
        self._clock = clock
        self._redraws = not quiet and can_redraw(console)
        self._live = LiveView(console, clock, self._redraws)
        self._task = ""
        self._task_start = (0.0, 0.0)  # Time and progress when the task was first reported.
        self._last_line = clock()
        self._part: Part | None = None
        self._has_decided = self._trains = False
        self._best_val = 0.0

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._live.stop()
        if self._part and not (self.quiet or error):
            print_blank(self.console)

    def __call__(self, event: Event) -> None:
        """Display an event."""
        if isinstance(event, WarningEvent):
            self._open("warnings")
            print_warning(event.message, self.console)
        elif isinstance(event, FileWritten):
            self.written.append((event.path, event.what))
        elif self.quiet:
            return
        elif isinstance(event, DecisionEvent):
            if self.verbose or not event.detail:
                self._open("training" if self._trains else "choices")
                self._has_decided = True
                print_row(self.console, event.what, event.value, event.why)
        elif isinstance(event, TaskProgress):
            numbers = f"{event.done:,}" + (f" of {event.total:,}" if event.total else "") + f" {event.unit}"
            self._live.show_task(event.task, event.done, event.total, numbers)
            self._report_now_and_then(event.task, event.done, event.total, numbers)
        elif isinstance(event, EarlierRecords):
            self._live.add_earlier(event.records)
            evaluations = [record for record in event.records if isinstance(record, EvalRecord)]
            self._best_val = max((record.score for record in evaluations), default=0.0)
        elif isinstance(event, TrainingProgress):
            self._live.show_training(event)
            done = event.epoch - 1 + event.step / event.steps
            self._report_now_and_then(event.stage, done, event.epochs, self._numbers(event).plain)
        elif isinstance(event, StepRecord):
            numbers = f"loss {event.train_loss:.3f}  {_train(event)} {percent(event.train_accuracy):>7}"
            self._line(event.stage, Text(f"step {event.step:,}  {numbers}  lr {event.learning_rate:.3g}"))
        else:
            self._end_epoch(event)

    def _end_epoch(self, record: EvalRecord) -> None:
        """Print the epoch's line; of a probe's quick epochs, only the last, whose weights are kept."""
        passing = record.stage == PROBE and record.ends_epoch and record.epoch < record.epochs
        if not passing or self._line_is_due():
            self._line(record.stage, self._numbers(record))
            self._best_val = max(self._best_val, record.score)
        self._live.show_training(record)
        self._report_now_and_then(record.stage, record.step / record.steps, record.epochs, self._numbers(record).plain)

    def _numbers(self, event: TrainingProgress | EvalRecord) -> Text:
        """Format epoch, loss and accuracies for a line or a bar; the best val so far is green."""
        wide = self.console.width >= NARROW
        text = Text(f"{event.epoch}/{event.epochs}".rjust(EPOCH_WIDTH))
        if isinstance(event, TrainingProgress):
            text.append(f"  loss {event.loss:.3f}  {_train(event)} {percent(event.accuracy)}")
        else:
            text.append(f"  loss {event.train_loss:.3f}")
            metric = "" if event.score_name == "accuracy" else f"{event.score_name} "
            if not metric and (wide or event.ends_epoch):
                text.append(f"  train {percent(event.train_accuracy):>7}")
            style = BEST if event.score > self._best_val else ""
            text.append("  ").append(f"val {metric}{percent(event.score):>7}", style)
            if not event.ends_epoch:
                return text.append(f"  at step {event.step:,}")
        if wide and event.stage != PROBE:
            text.append(f"  {event.images_per_second:,.0f} images/s")
        return text

    def _report_now_and_then(self, task: str, done: float, total: int | None, numbers: str) -> None:
        """Where nothing can be redrawn, print a line if the last one was long ago."""
        if task != self._task:
            self._task, self._task_start = task, (self._clock(), done)
        if self._line_is_due():
            self._line(task, Text(f"{numbers}{self._time_left(done, total)}"))

    def _line_is_due(self) -> bool:
        """Whether nothing can be redrawn, and the last line was long ago."""
        return not self._redraws and self._clock() - self._last_line >= LINE_SECONDS

    def _time_left(self, done: float, total: int | None) -> str:
        """Estimate the time left for a task from its pace so far; empty where it is unknown."""
        started, at = self._task_start
        if total is None or done <= at:
            return ""
        return f"  {format_seconds((self._clock() - started) / (done - at) * (total - done))} left"

    def _line(self, name: str, text: Text) -> None:
        self._open("training" if self._has_decided else "preparing")
        self._last_line = self._clock()
        self.console.print(Text.assemble((f"{name:<{NAME_WIDTH}}{' ' * GAP}", "bold"), text), soft_wrap=True)

    def _open(self, part: Part) -> None:
        """Print an empty line between decisions, warnings and training."""
        if self._part not in (None, part) and not self.quiet:
            print_blank(self.console)
        self._part = part
        self._trains = self._trains or part == "training"


def _train(event: TrainingProgress | StepRecord) -> str:
    """Return what the accuracy on train is called."""
    return "train all right" if event.exact else "train"
