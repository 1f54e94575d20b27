"""Learning curves of one run, or of several over each other."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from tl_toolkit.events import LAST_STAGE, PROBE, TRAINED, TUNE, EvalRecord
from tl_toolkit.report.figures import save_figure

INCHES = (9.0, 3.6)
LINE_INCHES = 0.19
"""Of a run in the legend, which makes room for itself."""

SPARSE = 30
"""Evaluations up to which each is marked by a dot."""

SHADES = {PROBE: "0.95", LAST_STAGE: "0.9", TUNE: "0.84"}
"""Grey levels behind the stages, the darker the more trains."""


@dataclass(frozen=True)
class Span:
    """A stage of a curve.

    Attributes:
        stage: Its name.
        first: Epochs of the run that were done when it began.
        last: Likewise when it ended.
        epochs: Epochs done at each of its evaluations.
        records: They.
    """

    stage: str
    first: float
    last: float
    epochs: list[float]
    records: list[EvalRecord]


@dataclass(frozen=True)
class Curve:
    """A run to be drawn.

    Attributes:
        label: Its name.
        records: Its evaluations in order, of all stages.
    """

    label: str
    records: Sequence[EvalRecord]

    def epochs(self) -> list[float]:
        """Epochs done at each evaluation, those of earlier stages counted in."""
        return [epoch for span in self.spans() for epoch in span.epochs]

    def spans(self) -> Iterator[Span]:
        """Its stages in order."""
        first = 0.0
        for stage, group in groupby(self.records, key=lambda record: record.stage):
            records = list(group)
            epochs = [first + record.step / record.steps for record in records]
            yield Span(stage, first, epochs[-1], epochs, records)
            first = epochs[-1]


def draw_curves(curves: Sequence[Curve], path: Path) -> None:
    """Draws loss and accuracy over the epochs, in two panels.

    One run is drawn with its train and val curves, on a ground that shows the stages. Of several, each has a colour:
    its val loss and val accuracy are solid, its train loss is dashed. What the lines are stands below the panels,
    where it covers none.

    Args:
        curves: The runs.
        path: A .png, .pdf or .svg file to write.

    Raises:
        UsageError: The file's name ends in something else.
    """
    width, height = INCHES
    figure = Figure(figsize=(width, height + LINE_INCHES * (len(curves) - 1)), layout="constrained")
    loss, accuracy = figure.subplots(1, 2)
    if len(curves) == 1:
        [curve] = curves
        figure.suptitle(_drawable(curve.label), parse_math=False)
        _draw_one(curve, loss, accuracy)
    else:
        for curve in curves:
            _draw_among_others(curve, loss, accuracy)
    accuracy.yaxis.set_major_formatter(PercentFormatter(1.0))
    for axes, name in ((loss, "loss"), (accuracy, "accuracy" if len(curves) == 1 else "val accuracy")):
        axes.set_xlabel("epoch")
        axes.set_title(name)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.25)
    handles = loss.get_legend_handles_labels()[0]
    if len(curves) > 1:
        handles = handles[::2] + handles[1::2]  # A legend fills its columns: val of all runs, then train.
    legend = figure.legend(handles=handles, loc="outside lower center", ncols=5 if len(curves) == 1 else 2)
    for text in legend.get_texts():
        text.set_fontsize("small")
        text.set_parse_math(False)
    save_figure(figure, path)


def _draw_one(curve: Curve, loss: Axes, accuracy: Axes) -> None:
    """Each stage is a line of its own: what one learns from is not what the next one does."""
    marker = _marker(curve)
    spans = list(curve.spans())
    for number, span in enumerate(spans):
        train, val = ("train", "val") if number == 0 else (None, None)
        epochs, records = span.epochs, span.records
        loss.plot(epochs, [record.train_loss for record in records], marker, color="C0", label=train)
        loss.plot(epochs, [record.val_loss for record in records], marker, color="C1", label=val)
        accuracy.plot(epochs, [record.train_accuracy for record in records], marker, color="C0")
        accuracy.plot(epochs, [record.val_accuracy for record in records], marker, color="C1")
    for span in spans:
        for axes in (loss, accuracy):
            what = f"{span.stage}: {TRAINED[span.stage]}" if span.stage in TRAINED else span.stage
            axes.axvspan(span.first, span.last, color=SHADES.get(span.stage, "1"), zorder=0, label=what)
    for axes in (loss, accuracy):
        axes.set_xlim(0, spans[-1].last * 1.02)


def _draw_among_others(curve: Curve, loss: Axes, accuracy: Axes) -> None:
    epochs, marker, label = curve.epochs(), _marker(curve), _drawable(curve.label)
    [line] = loss.plot(epochs, [record.val_loss for record in curve.records], marker, label=f"{label}, val")
    color = line.get_color()
    train = [record.train_loss for record in curve.records]
    loss.plot(epochs, train, "--", color=color, linewidth=1, alpha=0.7, label=f"{label}, train")
    accuracy.plot(epochs, [record.val_accuracy for record in curve.records], marker, color=color)


def _marker(curve: Curve) -> str:
    return ".-" if len(curve.records) <= SPARSE else "-"


def _drawable(text: str) -> str:
    """Text without the bytes of a file name that are no UTF-8. A leading underscore hides a legend's line."""
    return text.encode(errors="replace").decode().lstrip("_")
