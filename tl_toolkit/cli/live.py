"""The part of the screen that changes: below the lines that stay, and gone when the run ends."""

import os
from collections.abc import Callable, Sequence

from rich.console import Console, ConsoleOptions, ConsoleRenderable, RenderableType, RenderResult
from rich.control import Control
from rich.live import Live
from rich.progress import BarColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.segment import ControlType, Segment

from tl_toolkit.cli.console import NAME_WIDTH
from tl_toolkit.cli.training_view import TrainingView
from tl_toolkit.events import EvalRecord, Record, TrainingProgress

REFRESHES = 4
"""Per second, as often as training reports. More would be seen by nobody, and cost training."""

NARROW = 80
"""Below this width bars are short."""


def can_redraw(console: Console) -> bool:
    """Return whether what was drawn can be replaced: in a terminal, not in the log of a CI job that forces colours."""
    if os.environ.get("FORCE_COLOR") and not console.file.isatty():
        return False
    return console.is_interactive and console.is_terminal and not console.is_dumb_terminal


class LiveView:
    """Shows the current task as a bar, or the stage that trains.

    Args:
        console: Where to draw.
        clock: Returns the time in seconds.
        enabled: Whether anything is drawn.
    """

    def __init__(self, console: Console, clock: Callable[[], float], enabled: bool) -> None:
        self._clock, self._enabled = clock, enabled
        self._bars = Bars(
            TextColumn("{task.description}", style="bold"),
            BarColumn(bar_width=8 if console.width < NARROW else 20),
            TextColumn("{task.fields[numbers]}"),
            TimeRemainingColumn(compact=True),
            console=console,
            auto_refresh=False,  # Drawn by `_block`; never started.
        )
        self._bar: TaskID | None = None
        self._task = ""
        self._stages: dict[str, TrainingView] = {}
        self._training: TrainingView | None = None  # The one that is shown.
        self._earlier: tuple[Record, ...] = ()
        self._block = _Block(console, lambda: self._training or self._bars.get_renderable())

    def start(self) -> None:
        """Begin to draw."""
        if self._enabled:
            self._block.start()

    def stop(self) -> None:
        """Remove what is drawn, and show the cursor again."""
        self._block.stop()

    def add_earlier(self, records: Sequence[Record]) -> None:
        """Begin the curves with the records of a run that resumes."""
        self._earlier = tuple(records)

    def show_task(self, task: str, done: float, total: float | None, numbers: str) -> None:
        """Show the bar of a task in place of what was shown before."""
        if not self._enabled:
            return
        if self._bar is None or task != self._task or self._training:
            if self._bar is not None:
                self._bars.remove_task(self._bar)
            self._task, self._training = task, None
            self._bar = self._bars.add_task(task.ljust(NAME_WIDTH), total=total, numbers=numbers)
        self._bars.update(self._bar, completed=done, total=total, numbers=numbers)

    def show_training(self, event: TrainingProgress | EvalRecord) -> None:
        """Show the stage that trains in place of what was shown before."""
        if not self._enabled:
            return
        if event.stage not in self._stages:
            earlier = [record for record in self._earlier if record.stage == event.stage]
            self._stages[event.stage] = TrainingView(event.stage, earlier, self._clock)
        self._training = self._stages[event.stage]
        self._training.show(event)


class _Block(Live):
    """A rich Live that also finds its lines again when the terminal has become narrower.

    A terminal then wraps the lines that are on it, and the block is higher than when it was drawn.

    Args:
        console: Where to draw.
        view: Returns what to draw.
    """

    def __init__(self, console: Console, view: Callable[[], RenderableType]) -> None:
        self._drawn = _Measured(view)
        super().__init__(self._drawn, console=console, refresh_per_second=REFRESHES, transient=True)

    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        """Return what to print so that the block is erased first and drawn again last."""
        extra = self._drawn.wrapped_rows(self.console.width)
        up = ((ControlType.ERASE_IN_LINE, 2), (ControlType.CURSOR_UP, 1))
        return [Control(*up * extra), *super().process_renderables(renderables)]


class _Measured:
    """Draws a view, and remembers the width of each line."""

    def __init__(self, view: Callable[[], RenderableType]) -> None:
        self._view = view
        self._widths: list[int] = []

    def wrapped_rows(self, columns: int) -> int:
        """Return how many more rows the lines take in a terminal of so many columns."""
        return sum(max(width - 1, 0) // columns for width in self._widths)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw the view."""
        lines = console.render_lines(self._view(), options, pad=False)
        self._widths = [Segment.get_line_length(line) for line in lines]
        for line in lines:
            yield from line
            yield Segment.line()
