"""Learning curves of one run, or of several over each other."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from tl_toolkit.report.figures import save_figure
from tl_toolkit.training.records import EvalRecord

INCHES = (9.0, 3.6)
SPARSE = 30
"""Evaluations up to which each is marked by a dot."""


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
        done: list[float] = []
        before = 0.0
        for index, record in enumerate(self.records):
            if index and record.stage != self.records[index - 1].stage:
                before = done[-1]
            done.append(before + record.step / record.steps)
        return done


def draw_curves(curves: Sequence[Curve], path: Path) -> None:
    """Draws loss and accuracy over the epochs, in two panels.

    One run is drawn with its train and val curves, and the beginning of each stage. Of several, each has a colour:
    its val loss and val accuracy are solid, its train loss is dashed.

    Args:
        curves: The runs.
        path: A .png, .pdf or .svg file to write.

    Raises:
        UsageError: The file's name ends in something else.
    """
    figure = Figure(figsize=INCHES, layout="constrained")
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
        for text in axes.legend(fontsize="small").get_texts():
            text.set_parse_math(False)
    save_figure(figure, path)


def _draw_one(curve: Curve, loss: Axes, accuracy: Axes) -> None:
    epochs, marker = curve.epochs(), _marker(curve)
    loss.plot(epochs, [record.train_loss for record in curve.records], marker, label="train")
    loss.plot(epochs, [record.val_loss for record in curve.records], marker, label="val")
    accuracy.plot(epochs, [record.train_accuracy for record in curve.records], marker, label="train (augmented)")
    accuracy.plot(epochs, [record.val_accuracy for record in curve.records], marker, label="val")
    for end, (record, following) in zip(epochs, pairwise(curve.records), strict=False):
        if record.stage == following.stage:
            continue
        for axes in (loss, accuracy):
            axes.axvline(end, color="0.6", linestyle=":", linewidth=1)
            axes.annotate(
                following.stage, (end, 1), xycoords=("data", "axes fraction"), xytext=(4, -11),
                textcoords="offset points", fontsize="small", color="0.4",
            )  # fmt: skip


def _draw_among_others(curve: Curve, loss: Axes, accuracy: Axes) -> None:
    epochs, marker, label = curve.epochs(), _marker(curve), _drawable(curve.label)
    [line] = loss.plot(epochs, [record.val_loss for record in curve.records], marker, label=f"{label}, val")
    color = line.get_color()
    train = [record.train_loss for record in curve.records]
    loss.plot(epochs, train, "--", color=color, linewidth=1, alpha=0.7, label=f"{label}, train")
    accuracy.plot(epochs, [record.val_accuracy for record in curve.records], marker, color=color, label=label)


def _marker(curve: Curve) -> str:
    return ".-" if len(curve.records) <= SPARSE else "-"


def _drawable(text: str) -> str:
    """Text without the bytes of a file name that are no UTF-8. A leading underscore hides a legend's line."""
    return text.encode(errors="replace").decode().lstrip("_")
