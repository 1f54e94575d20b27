"""Learning curves of one run or of several."""

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
LEGEND_LINE_INCHES = 0.19
"""Height of a run in the legend."""

MAX_DOTS = 30
"""A curve with no more evaluations marks each with a dot."""

SHADES = {PROBE: "0.95", LAST_STAGE: "0.9", TUNE: "0.84"}
"""Grey levels behind the stages; darker where more of the network trains."""


@dataclass(frozen=True)
class Span:
    """A stage of a curve.

    Attributes:
        stage: Its name.
        first: Epochs of the run before it.
        epochs: Epochs of the run at each of its evaluations.
        records: Its evaluations.
    """

    stage: str
    first: float
    epochs: list[float]
    records: list[EvalRecord]


@dataclass(frozen=True)
class Curve:
    """A run to draw.

    Attributes:
        label: Its name.
        records: The evaluations of all its stages, in order.
    """

    label: str
    records: Sequence[EvalRecord]

    def epochs(self) -> list[float]:
        """Epochs of the run at each evaluation, counted over all stages."""
        return [epoch for span in self.spans() for epoch in span.epochs]

    def spans(self) -> Iterator[Span]:
        """Yield its stages in order."""
        first = 0.0
        for stage, group in groupby(self.records, key=lambda record: record.stage):
            records = list(group)
            epochs = [first + record.step / record.steps for record in records]
            yield Span(stage, first, epochs, records)
            first = epochs[-1]


def draw_curves(curves: Sequence[Curve], path: Path) -> None:
    """Draw loss and accuracy, or mean average precision, over the epochs, in two panels.

    A single run has its train and val curves, with its stages shaded. Each of several runs has one colour: val is
    solid, the train loss is dashed. The legend is below the panels, where it covers no line.

    Args:
        curves: The runs.
        path: A .png, .pdf or .svg file to write.

    Raises:
        UsageError: No figure has such an ending.
    """
    width, height = INCHES
    figure = Figure(figsize=(width, height + LEGEND_LINE_INCHES * (len(curves) - 1)), layout="constrained")
    loss, accuracy = figure.subplots(1, 2)
    single = len(curves) == 1
    if single:
        figure.suptitle(_drawable(curves[0].label), parse_math=False)
        _draw_single(curves[0], loss, accuracy)
    else:
        for curve in curves:
            _draw_among_others(curve, loss, accuracy)
    accuracy.yaxis.set_major_formatter(PercentFormatter(1.0))
    names = " or ".join(dict.fromkeys(record.score_name for curve in curves for record in curve.records[:1]))
    panels = ((loss, "loss"), (accuracy, names if single and names == "accuracy" else f"val {names}"))
    for axes, name in panels:
        axes.set_xlabel("epoch")
        axes.set_title(name)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.25)
    handles = loss.get_legend_handles_labels()[0]
    if not single:
        handles = handles[::2] + handles[1::2]  # A legend fills its columns: val of all runs, then train.
    legend = figure.legend(handles=handles, loc="outside lower center", ncols=5 if single else 2)
    for text in legend.get_texts():
        text.set_fontsize("small")
        text.set_parse_math(False)
    save_figure(figure, path)


def _draw_single(curve: Curve, loss: Axes, accuracy: Axes) -> None:
    """Draw each stage as a line of its own: stages differ in what they train on."""
    marker = _marker(curve)
    spans = list(curve.spans())
    for number, span in enumerate(spans):
        train, val = ("train", "val") if number == 0 else (None, None)
        epochs, records = span.epochs, span.records
        loss.plot(epochs, [record.train_loss for record in records], marker, color="C0", label=train)
        loss.plot(epochs, [record.val_loss for record in records], marker, color="C1", label=val)
        if records[0].score_name == "accuracy":  # Nothing else is computed of train.
            accuracy.plot(epochs, [record.train_accuracy for record in records], marker, color="C0")
        accuracy.plot(epochs, [record.score for record in records], marker, color="C1")
    for span in spans:
        for axes in (loss, accuracy):
            what = f"{span.stage}: {TRAINED[span.stage]}" if span.stage in TRAINED else span.stage
            axes.axvspan(span.first, span.epochs[-1], color=SHADES.get(span.stage, "1"), zorder=0, label=what)
    for axes in (loss, accuracy):
        axes.set_xlim(0, spans[-1].epochs[-1] * 1.02)


def _draw_among_others(curve: Curve, loss: Axes, accuracy: Axes) -> None:
    epochs, marker, label = curve.epochs(), _marker(curve), _drawable(curve.label)
    [line] = loss.plot(epochs, [record.val_loss for record in curve.records], marker, label=f"{label}, val")
    color = line.get_color()
    train = [record.train_loss for record in curve.records]
    loss.plot(epochs, train, "--", color=color, linewidth=1, alpha=0.7, label=f"{label}, train")
    accuracy.plot(epochs, [record.score for record in curve.records], marker, color=color)


def _marker(curve: Curve) -> str:
    return ".-" if len(curve.records) <= MAX_DOTS else "-"


def _drawable(text: str) -> str:
    """Return text that matplotlib can draw: valid UTF-8, and no leading underscore, which would hide it in a legend."""
    return text.encode(errors="replace").decode().lstrip("_")
