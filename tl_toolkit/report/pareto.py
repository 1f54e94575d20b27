"""Accuracy over time of several networks, and their Pareto front."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from tl_toolkit.report.figures import save_figure

INCHES = (7.5, 4.5)


@dataclass(frozen=True, slots=True)
class Point:
    """A network at one size of its input.

    Attributes:
        label: Its name.
        milliseconds: Time for one image.
        accuracy: A fraction.
        standard_error: Standard error of the accuracy.
    """

    label: str
    milliseconds: float
    accuracy: float
    standard_error: float


def pareto_front(points: Sequence[Point]) -> list[Point]:
    """Return the points that no other beats in both time and accuracy, fastest first."""
    front: list[Point] = []
    for point in sorted(points, key=lambda each: (each.milliseconds, -each.accuracy)):
        if not front or point.accuracy > front[-1].accuracy:
            front.append(point)
    return front


def draw_pareto(points: Sequence[Point], path: Path, score_name: str = "accuracy") -> None:
    """Draw accuracy over the time for one image, with standard errors and the Pareto front.

    Args:
        points: The networks.
        path: A .png, .pdf or .svg file to write.
        score_name: What the accuracy is, such as mAP.

    Raises:
        UsageError: No figure has such an ending.
    """
    figure = Figure(figsize=INCHES, layout="constrained")
    axes = figure.subplots()
    front = pareto_front(points)
    middle = max(point.milliseconds for point in points) / 2
    axes.plot([point.milliseconds for point in front], [point.accuracy for point in front], color="0.7", zorder=1)
    for point in points:
        color = "tab:blue" if point in front else "0.5"
        x, y = point.milliseconds, point.accuracy
        axes.errorbar(x, y, point.standard_error, fmt="o", color=color, capsize=3, markersize=5)
        offset, align = (-7, "right") if x > middle else (7, "left")
        axes.annotate(
            point.label, (x, y), (offset, 5), textcoords="offset points", ha=align, fontsize="small", color=color
        )
    axes.set_xlabel("milliseconds for an image: decoding and a forward pass")
    axes.set_ylabel(f"cross-validated {score_name} of a linear probe")
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.margins(0.12)
    axes.set_xlim(left=0)
    axes.grid(alpha=0.25)
    save_figure(figure, path)
