"""The charts of calibration: how far probabilities can be believed."""

import math
from collections.abc import Sequence

from tl_toolkit.metrics.calibration import ReliabilityBin
from tl_toolkit.report.content import Calibration
from tl_toolkit.report.page.charts import Bar, Chart, Stop, draw_line, horizontal, padded, vertical
from tl_toolkit.report.page.formats import percent
from tl_toolkit.text import plural

SIDE = 330.0
"""Width and height of a reliability diagram."""


def calibration_charts(calibration: Calibration) -> list[Chart]:
    """Draw reliability before and after the temperature, and accuracy by coverage."""
    before, after = calibration.errors
    charts = []
    if calibration.before and calibration.temperature != 1:
        charts.append(_reliability("before", f"Without temperature: error {percent(before)}", calibration.before))
    if calibration.after:
        title = "Reliability" if calibration.temperature == 1 else "With temperature"
        charts.append(_reliability("after", f"{title}: error {percent(after)}", calibration.after))
    return [*charts, *([_coverage(calibration.coverage)] if calibration.coverage else [])]


def _reliability(key: str, title: str, bins: Sequence[ReliabilityBin]) -> Chart:
    x, y = horizontal(0, 1, SIDE), vertical(0, 1, SIDE)
    bars, stops = [], []
    for each in bins:
        if not each.images or math.isnan(each.accuracy):
            continue
        left, right = x.at(each.low) + 1, x.at(each.high) - 1
        top, sure = y.at(each.accuracy), y.at(each.confidence)
        bars.append(Bar(left, max(top, sure), right - left, y.at(0) - max(top, sure), "right"))
        bars.append(Bar(left, min(top, sure), right - left, abs(top - sure), "over" if top > sure else "under"))
        values = [
            ("right", percent(each.accuracy)),
            ("mean probability", percent(each.confidence)),
            ("images", f"{each.images:,}"),
        ]
        stops.append(Stop((left + right) / 2, f"Probability {each.low:.0%} to {each.high:.0%}", values, [top]))
    summary = f"{title}. Share of right answers by the probability of the likeliest class."
    return Chart(
        key, title, summary, "probability", x.ticks(_tick), y.ticks(_tick), stops,
        bars=bars, diagonal=True, width=SIDE, height=SIDE,
    )  # fmt: skip


def _coverage(curve: Sequence[tuple[float, float, float]]) -> Chart:
    known = sorted((row for row in curve if not math.isnan(row[2])), key=lambda row: row[1])
    x = horizontal(*padded([row[1] for row in known], 0, 1), SIDE)
    y = vertical(*padded([row[2] for row in known], 0, 1), SIDE)
    line = draw_line("accuracy", "val", [(share, accuracy) for _, share, accuracy in known], x, y)
    stops = [
        Stop(
            x.at(share),
            f"Answers from {percent(threshold)} on",
            [("answered", percent(share)), ("right", percent(accuracy))],
            [y.at(accuracy)],
        )
        for threshold, share, accuracy in known
    ]
    summary = f"Accuracy on the images that are answered, at {plural(len(known), 'threshold')} of the probability."
    return Chart(
        "coverage", "Accuracy when unsure images are left out", summary, "images answered",
        x.ticks(_tick, 5), y.ticks(_tick, 5), stops, [line], width=SIDE, height=SIDE,
    )  # fmt: skip


def _tick(value: float) -> str:
    return f"{100 * value:g} %"
