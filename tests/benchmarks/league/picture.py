"""Accuracy over seconds, one panel for each data set."""

import math
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter
from matplotlib.transforms import Bbox

from tests.benchmarks.league.data import DATA_SETS
from tests.benchmarks.league.entrants import ENTRANTS
from tests.benchmarks.league.report import Row, summarize
from tests.benchmarks.league.results import Result

COLORS = {"tl": "#d1495b", "tl-probe": "#b7791f", "fastai": "#00798c", "timm": "#30638e", "hf": "#6f5a8c"}
MARKERS = {"tl": "o", "tl-probe": "D", "fastai": "s", "timm": "^", "hf": "v"}
STYLE = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#888888",
    "axes.labelcolor": "#333333",
    "xtick.color": "#555555",
    "ytick.color": "#555555",
    "axes.axisbelow": True,
    "grid.color": "#e6e6e6",
}
DIRECTIONS = [(math.cos(math.radians(angle)), math.sin(math.radians(angle))) for angle in range(0, 360, 15)]
DISTANCES = (12, 18, 26, 36, 48)
"""In points, from the middle of a marker to the nearest edge of its label."""


def draw_picture(results: Sequence[Result], path: Path) -> Figure:
    """Writes a PNG: a marker at the mean accuracy and the median seconds of each entrant, a bar for the spread."""
    rows = summarize(results)
    data = list(dict.fromkeys(row.data for row in rows))
    columns = len(data) if 0 < len(data) < 4 else 2
    lines = math.ceil(len(data) / columns) or 1
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(5.2 * columns, 3.9 * lines), dpi=160, layout="constrained")
        FigureCanvasAgg(figure)
        figure.get_layout_engine().set(w_pad=0.1, h_pad=0.1)
        panels = list(figure.subplots(lines, columns, squeeze=False).flat)
        for panel, name in zip(panels, data, strict=False):
            _points(panel, [row for row in rows if row.data == name])
            panel.set_title(DATA_SETS[name].title, loc="left", fontweight="bold", color="#222222")
        for panel in panels[len(data) :]:
            panel.axis("off")
        figure.supxlabel("seconds of the whole process, median (logarithmic)", fontsize=10, color="#333333")
        figure.supylabel("test accuracy, mean and standard deviation", fontsize=10, color="#333333")
        figure.canvas.draw()
        figure.set_layout_engine("none")  # Labels are placed in pixels: nothing may move after them.
        for panel, name in zip(panels, data, strict=False):
            _label(panel, [row for row in rows if row.data == name])
        figure.savefig(path)
    return figure


def _points(panel: Axes, rows: Sequence[Row]) -> None:
    for row in rows:
        color = COLORS[row.entrant]
        panel.errorbar(
            *(row.seconds, row.mean, row.spread or 0),
            fmt=MARKERS[row.entrant],
            color=color,
            markersize=8,
            markeredgecolor="white",
            elinewidth=1.5,
            capsize=3 if row.spread else 0,
            zorder=3,
        )
    panel.set_xscale("log")
    seconds = [row.seconds for row in rows]
    panel.set_xlim(min(seconds) / 1.8, max(seconds) * 1.8)
    lowest = min(row.mean - (row.spread or 0) for row in rows)
    highest = max(row.mean + (row.spread or 0) for row in rows)
    margin = max(0.25 * (highest - lowest), 0.01)
    panel.set_ylim(lowest - margin, min(highest + margin, 1.005))
    panel.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    panel.xaxis.set_minor_formatter(NullFormatter())
    panel.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    panel.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.4g} %"))
    panel.grid(visible=True, which="major")


def _label(panel: Axes, rows: Sequence[Row]) -> None:
    """Writes each entrant's name beside its marker, at the nearest place where it covers nothing."""
    figure = panel.figure
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    point = figure.dpi / 72
    taken = [_occupied(panel, row, 7 * point) for row in rows]
    inside = panel.get_window_extent(renderer)
    for row in rows:
        x, y = panel.transData.transform((row.seconds, row.mean))
        text = panel.annotate(
            ENTRANTS[row.entrant].title,
            (x, y),
            xycoords="figure pixels",
            ha="center",
            va="center",
            color=COLORS[row.entrant],
            fontsize=9,
            fontweight="bold" if row.entrant == "tl" else "normal",
            zorder=4,
        )
        size = text.get_window_extent(renderer)
        places = (
            (x + dx * (far * point + size.width / 2), y + dy * (far * point + size.height / 2))
            for far in DISTANCES
            for dx, dy in DIRECTIONS
        )
        boxes = (Bbox.from_bounds(a - size.width / 2, b - size.height / 2, size.width, size.height) for a, b in places)
        free = (box for box in boxes if _within(box, inside) and not any(box.overlaps(other) for other in taken))
        box = next(free, size)
        taken.append(box)
        middle = ((box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2)
        text.set_position(middle)


def _occupied(panel: Axes, row: Row, radius: float) -> Bbox:
    """What a marker and its bar take, in pixels."""
    spread = row.spread or 0
    x, low = panel.transData.transform((row.seconds, row.mean - spread))
    _, high = panel.transData.transform((row.seconds, row.mean + spread))
    return Bbox.from_extents(x - radius, low - radius, x + radius, high + radius)


def _within(box: Bbox, outer: Bbox) -> bool:
    return outer.x0 <= box.x0 and box.x1 <= outer.x1 and outer.y0 <= box.y0 and box.y1 <= outer.y1
