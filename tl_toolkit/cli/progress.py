"""Drawing a run: what was chosen, a bar for each stage, the results."""

from pathlib import Path
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from tl_toolkit.cli.console import percent, tell_choice, tell_warning
from tl_toolkit.recipes.events import Chosen, Counted, Event, Warned, Wrote
from tl_toolkit.training.loop import EpochRecord, Progress

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
            BarColumn(bar_width=12 if console.width < NARROW else 24),
            TextColumn("{task.fields[numbers]}"),
            TimeRemainingColumn(compact=True, elapsed_when_finished=True),
            console=console,
            disable=quiet or not console.is_terminal,
        )
        self._task: dict[str, int] = {}
        self._val = ""

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
            done = (event.epoch - 1) * event.steps + event.step
            numbers = self._numbers(event.epoch, event.epochs, event.loss, event.accuracy, event.images_per_second)
            self._advance(event.stage, done, event.epochs * event.steps, numbers)
        else:
            self._end_epoch(event)

    def _count(self, event: Counted) -> None:
        numbers = f"{event.done:,}" + (f" of {event.total:,} {event.unit}" if event.total else f" {event.unit}")
        self._advance(event.task, event.done, event.total, numbers)

    def _end_epoch(self, record: EpochRecord) -> None:
        self._val = f" val {percent(record.val_accuracy)}"
        numbers = self._numbers(
            record.epoch, record.epochs, record.train_loss, record.train_accuracy, record.images_per_second
        )
        # The bar of an epoch's end is exact whatever the number of steps: epochs of epochs.
        self._advance(record.stage, record.epoch, record.epochs, numbers)
        if self._bars.disable and (record.stage == "tune" or record.epoch == record.epochs):
            self.console.print(f"{record.stage} {numbers}", soft_wrap=True)

    def _numbers(self, epoch: int, epochs: int, loss: float, accuracy: float, speed: float) -> str:
        line = f"{epoch}/{epochs} loss {loss:.3f} acc {percent(accuracy)}{self._val}"
        return line if self.console.width < NARROW else f"{line} {speed:,.0f} images/s"

    def _advance(self, name: str, done: int, total: int | None, numbers: str) -> None:
        if name not in self._task:
            self._val = self._val if name in self._task else ""
            self._task[name] = self._bars.add_task(name, total=total, numbers=numbers)
        self._bars.update(self._task[name], completed=done, total=total, numbers=numbers)  # type: ignore[arg-type]
