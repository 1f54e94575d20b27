"""Drawing a run: what was chosen, a bar for each stage, the results."""

from pathlib import Path
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from tl_toolkit.cli.console import percent, tell_choice, tell_warning
from tl_toolkit.recipes.events import Chosen, Counted, Event, Warned, Wrote
from tl_toolkit.training.records import EvalRecord, Progress, StepRecord

NARROW = 80
"""Columns below which the bars are short."""


class Narration:
    """A listener that draws; without a terminal it writes a line for each epoch in place of bars.

    Args:
        console: Where to draw.
        quiet: Draw nothing but warnings.
    """

    def __init__(self, console: Console, quiet: bool = False) -> None:
        self.console = console
        self.quiet = quiet
        self.written: list[tuple[Path, str]] = []
        self._bars = Bars(
            TextColumn("{task.description}", style="bold"),
            BarColumn(bar_width=8 if console.width < NARROW else 20),
            TextColumn("{task.fields[numbers]}"),
            TimeRemainingColumn(compact=True, elapsed_when_finished=True),
            console=console,
            disable=quiet or not console.is_terminal,
        )
        self._task: dict[str, TaskID] = {}
        self._val: dict[str, float] = {}

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def __call__(self, event: Event) -> None:
        """Draws an event."""
        if isinstance(event, Warned):
            tell_warning(event.message, self.console)
        elif isinstance(event, Wrote):
            self.written.append((event.path, event.what))
        elif self.quiet:
            return
        elif isinstance(event, Chosen):
            tell_choice(self.console, event.what, event.value, event.why)
        elif isinstance(event, Counted):
            self._count(event)
        elif isinstance(event, Progress):
            self._draw_stage(event, event.epoch - 1 + event.step / event.steps, event.loss, event.accuracy)
        elif isinstance(event, StepRecord):
            numbers = f"loss {event.train_loss:.3f} acc {percent(event.train_accuracy)} lr {event.learning_rate:.3g}"
            self.console.print(f"{event.stage} epoch {event.epoch} step {event.step:,} {numbers}", soft_wrap=True)
        else:
            self._val[event.stage] = event.val_accuracy
            line = self._draw_stage(event, event.step / event.steps, event.train_loss, event.train_accuracy)
            if not event.ends_epoch:
                line += f" at step {event.step:,}"
            if self._bars.disable and (event.stage == "tune" or event.epoch == event.epochs):
                self.console.print(f"{event.stage} {line}", soft_wrap=True)

    def _count(self, event: Counted) -> None:
        numbers = f"{event.done:,}" + (f" of {event.total:,} {event.unit}" if event.total else f" {event.unit}")
        self._draw(event.task, event.done, event.total, numbers)

    def _draw_stage(self, event: Progress | EvalRecord, epochs_done: float, loss: float, accuracy: float) -> str:
        wide = self.console.width >= NARROW
        line = f"{event.epoch}/{event.epochs} loss {loss:.3f}"
        if wide or event.stage not in self._val:
            line += f" acc {percent(accuracy)}"
        if event.stage in self._val:
            line += f" val {percent(self._val[event.stage])}"
        if wide:
            line += f" {event.images_per_second:,.0f} images/s"
        self._draw(event.stage, epochs_done, event.epochs, line)
        return line

    def _draw(self, name: str, done: float, total: int | None, numbers: str) -> None:
        if name not in self._task:
            self._task[name] = self._bars.add_task(name, total=total, numbers=numbers)
        self._bars.update(self._task[name], completed=done, total=total, numbers=numbers)
