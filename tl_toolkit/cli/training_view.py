"""What the terminal shows of a stage while it trains: four lines, or one where there is no room."""

import os
from collections.abc import Callable, Sequence

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from tl_toolkit.cli.console import BEST, GAP, NAME_WIDTH, percent
from tl_toolkit.cli.curves import Curve, sparkline
from tl_toolkit.events import PROBE, EvalRecord, Record, TrainingProgress
from tl_toolkit.io.files import format_seconds

EPOCH_WIDTH = 5
"""Width of an epoch such as 12/12."""

LABELLED = 56
"""From this width on, figures have their names, and the rows are indented as the lines above them."""

SLIM = 7
"""Indent below that width."""

LONGEST_CURVE, SHORTEST_CURVE = 24, 4
LONGEST_BAR, SHORTEST_BAR = 40, 5
LOSS_WIDTH, SHARE_WIDTH = 6, 7
"""Width of a loss such as 12.345, and of 100.0 %."""

ROWS = 4
ROOM = ROWS + 2
"""In a terminal of fewer lines the view has only one, so that the lines above it are seen."""

SETTLED = 2.0
"""Seconds after which a stage's pace says something about the time left."""


class TrainingView:
    """A stage that trains: how far it is, how it does, and how long it takes.

    Args:
        stage: "probe", "last-stage" or "tune".
        earlier: The records of the stage from before the run was resumed.
        clock: Returns the time in seconds.
    """

    def __init__(self, stage: str, earlier: Sequence[Record], clock: Callable[[], float]) -> None:
        self.stage = stage
        self._earlier = list(earlier)
        self._clock, self._started = clock, clock()
        self._start: float | None = None  # Progress when the stage was first reported, from 0 to 1.
        self._done, self._at = 0.0, self._started
        self._epoch = ""
        self._train, self._val = _Row("train"), _Row("val")
        self._window = _Window()
        self._learning_rate: float | None = None
        self._speed: float | None = None
        self._budget: float | None = None

    def show(self, event: TrainingProgress | EvalRecord) -> None:
        """Show how far the stage is now."""
        now = self._clock()
        done, steps = _steps_done(event), event.steps * event.epochs
        if self._start is None:
            self._begin(done, steps)
        if isinstance(event, TrainingProgress):
            self._learning_rate, self._budget = event.learning_rate, event.budget_seconds
            self._add_train(done, steps, event.loss, event.accuracy)
            self._train.show(event.loss, event.accuracy, "all right" if event.exact else "accuracy")
        else:
            self._add_evaluation(event, steps)
        if self.stage != PROBE:  # A probe runs on features: their speed is not that of images.
            self._speed = event.images_per_second
        self._epoch = f"{event.epoch}/{event.epochs}"
        self._done, self._at = done / steps, now

    def _begin(self, done: int, steps: int) -> None:
        """Draw what was recorded before the run was resumed."""
        for record in self._earlier:
            if isinstance(record, EvalRecord) and record.step <= done:
                self._add_evaluation(record, steps)
        self._earlier = []
        self._start = done / steps

    def _add_evaluation(self, record: EvalRecord, steps: int) -> None:
        several = record.score_name != "accuracy"
        self._add_train(record.step, steps, record.train_loss, record.train_accuracy)
        self._train.show(record.train_loss, record.train_accuracy, "all right" if several else "accuracy")
        self._val.add(record.step / steps, record.val_loss, record.score)
        self._val.show(record.val_loss, record.score, record.score_name)
        self._window = _Window(record.step)

    def _add_train(self, step: int, steps: int, loss: float, accuracy: float) -> None:
        """Continue the curves of train by what came since the last report."""
        if step > self._window.step:
            new_loss, new_accuracy = self._window.advance(step, loss, accuracy)
            self._train.add(step / steps, new_loss, new_accuracy)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw the view as wide and as high as there is room."""
        width, ascii_only = options.max_width, draws_ascii(console)
        if options.size.height < ROOM:
            yield _fitting(self._summary(), width)
            return
        indent = NAME_WIDTH + GAP if width >= LABELLED else SLIM
        yield self._headline(console, width, indent)
        labels = max(len(self._train.share_label), len(self._val.share_label)) if width >= LABELLED else 0
        for row in (self._train, self._val):
            yield row.draw(width, indent, labels, ascii_only)
        yield _fitting([" " * (indent - GAP), *self._details()], width)

    def _headline(self, console: Console, width: int, indent: int) -> Text:
        """Return stage, epoch, a bar and the time left of the stage."""
        start = f"{self.stage:<{indent}}" if len(self.stage) < indent else f"{self.stage} "
        epoch = self._epoch.rjust(EPOCH_WIDTH) + "  " if width >= LABELLED else f"{self._epoch} "
        ends = [f" {_whole_percent(self._done):>5}", *(f"  {part}" for part in self._time_left())]
        room = width - len(start) - len(epoch)
        while len(ends) > 1 and room - sum(map(len, ends)) < SHORTEST_BAR:
            ends.pop()
        bar = min(room - sum(map(len, ends)), LONGEST_BAR)
        text = Text.assemble((start, "bold"), epoch, no_wrap=True, overflow="crop")
        if bar >= SHORTEST_BAR:
            text.append_text(_bar(console, self._done, bar))
        return text.append("".join(ends))

    def _details(self) -> list[str]:
        """Return learning rate, speed and what is left of the time budget, as far as they are known."""
        parts = []
        if self._learning_rate is not None:
            parts.append(f"lr {self._learning_rate:.3g}")
        if self._speed is not None:
            parts.append(f"{self._speed:,.0f} images/s")
        if self._budget is not None:
            left = max(0.0, self._budget - (self._clock() - self._at))
            parts.append(f"{format_seconds(left)} of the time budget left")
        return parts

    def _summary(self) -> list[str]:
        """Return the most important figures, for a terminal with few lines."""
        parts = [f"{self.stage} {self._epoch}", _whole_percent(self._done)]
        for row in (self._val, self._train):
            if row.share is not None:
                metric = "" if row.share_label == "accuracy" else f"{row.share_label} "
                parts.append(f"{row.name} {metric}{percent(row.share)}")
        return [*parts, *self._time_left()]

    def _time_left(self) -> list[str]:
        """Return the time left of the stage by its pace so far, if that is known."""
        passed = self._at - self._started
        if self._start is None or self._done <= self._start or self._done >= 1 or passed < SETTLED:
            return []
        left = passed / (self._done - self._start) * (1 - self._done) - (self._clock() - self._at)
        return [f"{format_seconds(max(left, 0.0))} left"]


class _Row:
    """Loss and accuracy of a split, with their curves."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.loss: float | None = None
        self.share: float | None = None
        self.share_label = "accuracy"
        self._best = 0.0
        self._losses, self._shares = Curve(), Curve()

    def add(self, end: float, loss: float, share: float) -> None:
        """Continue the curves until `end`, from 0 to 1 of the stage."""
        self._losses.add(end, loss)
        self._shares.add(end, share)
        self._best = max(self._best, share)

    def show(self, loss: float, share: float, share_label: str) -> None:
        """Show new figures."""
        self.loss, self.share, self.share_label = loss, share, share_label

    def draw(self, width: int, indent: int, label_width: int, ascii_only: bool) -> Text:
        """Return the row: names if there is room for them, figures, and curves in what remains."""
        names = ("loss ", f"{self.share_label:<{label_width}} ") if label_width else ("", "")
        fixed = indent + len(names[0]) + len(names[1]) + LOSS_WIDTH + SHARE_WIDTH + GAP
        length = min((width - fixed) // 2 - 1, LONGEST_CURVE)
        loss = "-" if self.loss is None else f"{self.loss:.3f}" if self.loss < 100 else f"{self.loss:.3g}"
        share = "-" if self.share is None else percent(self.share)
        text = Text(f"{self.name:<{indent}}", no_wrap=True, overflow="crop")
        is_best = self.name == "val" and self.share is not None and self.share >= self._best
        for name, value, curve, style in (
            (names[0], f"{loss:>{LOSS_WIDTH}}", self._losses, ""),
            (names[1], f"{share:>{SHARE_WIDTH}}", self._shares, BEST if is_best else ""),
        ):
            text.append(name, "dim").append(value, style)
            if length >= SHORTEST_CURVE:
                text.append(f" {sparkline(curve.values(), length, ascii_only)}", "cyan")
            text.append(" " * GAP)
        text.rstrip()
        return text


class _Window:
    """The last report of the means since an evaluation, from which follow those of what comes next.

    Args:
        step: The step of the evaluation.
    """

    def __init__(self, step: int = 0) -> None:
        self.step = self._start = step
        self._sums: tuple[float, ...] = (0.0, 0.0)

    def advance(self, step: int, *means: float) -> list[float]:
        """Return the means over the steps since the last report, from those since the evaluation."""
        sums = tuple(mean * (step - self._start) for mean in means)
        new = [(now - before) / (step - self.step) for now, before in zip(sums, self._sums, strict=True)]
        self.step, self._sums = step, sums
        return new


def draws_ascii(console: Console) -> bool:
    """Return whether the encoding, or the font of a text console, lacks block characters."""
    return console.options.ascii_only or console.legacy_windows or os.environ.get("TERM") == "linux"


def _steps_done(event: TrainingProgress | EvalRecord) -> int:
    """Return the steps done in the stage."""
    return event.step if isinstance(event, EvalRecord) else (event.epoch - 1) * event.steps + event.step


def _bar(console: Console, done: float, width: int) -> Text:
    """Return a bar; without colours, what is not done is empty."""
    sign = "-" if draws_ascii(console) else "━"
    full = int(done * width)
    rest = sign if console.color_system and not console.no_color else " "
    return Text.assemble((sign * full, "bar.complete"), (rest * (width - full), "bar.back"))


def _whole_percent(share: float) -> str:
    return f"{share:.0%}".replace("%", " %")


def _fitting(parts: Sequence[str], width: int) -> Text:
    """Join as many parts as fit into the width."""
    line = parts[0]
    for part in parts[1:]:
        if len(line) + GAP + len(part) > width:
            break
        line += " " * GAP + part
    return Text(line, no_wrap=True, overflow="crop")
