"""Learning curves of a run."""

import warnings
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from tl_toolkit.files import atomic_file
from tl_toolkit.training.loop import EpochRecord

INCHES = (9.0, 3.6)
DOTS_PER_INCH = 150


def draw_curves(records: Sequence[EpochRecord], title: str, path: Path) -> None:
    """Draws loss and accuracy on train and val over the epochs of all stages.

    Args:
        records: In order; a change of stage is marked.
        title: Above both panels.
        path: A PNG file to write.
    """
    figure = Figure(figsize=INCHES, layout="constrained")
    loss, accuracy = figure.subplots(1, 2)
    figure.suptitle(title.encode(errors="replace").decode(), parse_math=False)
    epochs = range(1, len(records) + 1)
    loss.plot(epochs, [record.train_loss for record in records], label="train")
    loss.plot(epochs, [record.val_loss for record in records], label="val")
    accuracy.plot(epochs, [record.train_accuracy for record in records], label="train (augmented)")
    accuracy.plot(epochs, [record.val_accuracy for record in records], label="val")
    accuracy.yaxis.set_major_formatter(PercentFormatter(1.0))
    for axes, name in ((loss, "loss"), (accuracy, "accuracy")):
        _finish(axes, name, records)
    with atomic_file(path) as temporary, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # A box in the title is no loss.
        figure.savefig(temporary, format="png", dpi=DOTS_PER_INCH)


def _finish(axes: Axes, name: str, records: Sequence[EpochRecord]) -> None:
    axes.set_xlabel("epoch")
    axes.set_title(name)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    for before, (record, following) in enumerate(pairwise(records), start=1):
        if record.stage != following.stage:
            axes.axvline(before + 0.5, color="0.6", linestyle=":", linewidth=1)
            axes.annotate(
                following.stage, (before + 0.5, 1), xycoords=("data", "axes fraction"), xytext=(4, -11),
                textcoords="offset points", fontsize="small", color="0.4",
            )  # fmt: skip
    axes.grid(alpha=0.25)
    axes.legend()
