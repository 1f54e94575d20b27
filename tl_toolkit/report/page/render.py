"""Drawing a report as one HTML file."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tl_toolkit.report.content import ReportContent
from tl_toolkit.report.page import formats
from tl_toolkit.report.page.charts import Chart
from tl_toolkit.report.page.curves import curve_charts
from tl_toolkit.report.page.feature_map import feature_map
from tl_toolkit.report.page.matrix import draw_matrix
from tl_toolkit.report.page.pictures import Pictures, images_of_cells
from tl_toolkit.report.page.probabilities import calibration_charts
from tl_toolkit.report.page.templating import open_templates, policy_hash, source
from tl_toolkit.text import printable

if TYPE_CHECKING:
    import jinja2

ROWS = 200
"""Rows of the table of classes that the page has from the start; the script adds others on demand."""

SCRIPTS = ("helpers", "theme", "sections", "tip", "charts", "map", "images", "matrix", "table")
"""Files of the script, in the order in which they run."""


def render(content: ReportContent) -> str:
    """Return the page: one HTML document that makes no request.

    Tables and charts are there without JavaScript. The script adds values at the pointer, sorting, the images of the
    cells of the confusion matrix, and a switch between light and dark.

    Args:
        content: What it shows.
    """
    from markupsafe import Markup  # Jinja's.

    environment = _environment()
    pictures = Pictures()
    environment.filters.update(picture_id=pictures.element_id, data_uri=pictures.data_uri)
    confusion = content.confusion
    matrix = draw_matrix(confusion) if confusion else None
    curves = curve_charts(content.epochs, content.score_name) if content.epochs else []
    calibration = calibration_charts(content.calibration) if content.calibration else []
    points = feature_map(content.map_points)
    cells = images_of_cells(confusion, pictures) if confusion else {}
    style = source(environment, "base.css") + source(environment, "style.css") + (matrix.style if matrix else "")
    script = "".join(source(environment, f"script/{name}.js") for name in SCRIPTS)

    def data() -> dict[str, Any]:
        """Return what the script shows, once the images that the page holds are drawn."""
        return {
            "charts": {chart.key: _stops(chart) for chart in [*curves, *calibration]},
            "map": {"classes": [printable(each.name) for each in points.classes], "points": points.points}
            if points
            else None,
            "cells": cells,
            "pictures": pictures.not_drawn(),
            "rows": _rows(content) if len(content.classes) > ROWS else None,
        }

    return environment.get_template("report.html").render(
        content=content,
        sections=_sections(content),
        policy=f"default-src 'none'; img-src data:; style-src {policy_hash(style)}; script-src {policy_hash(script)}; "
        "base-uri 'none'; form-action 'none'",
        style=Markup(style),  # noqa: S704 - the package's own file
        script=Markup(script),  # noqa: S704
        matrix=matrix,
        cells=cells,
        curves=curves,
        calibration_charts=calibration,
        map=points,
        first_rows=ROWS,
        data=data,
    )


def _environment() -> "jinja2.Environment":
    environment = open_templates("tl_toolkit.report.page")
    environment.filters.update(
        number=formats.number,
        percent=formats.percent,
        value=formats.value,
        interval=formats.interval,
        on_scale=formats.on_scale,
        scale_start=formats.scale_start,
    )
    environment.tests["known"] = formats.is_known
    return environment


def _sections(content: ReportContent) -> list[tuple[str, str]]:
    """Return the sections that have something to show: the name of their template, and their heading."""
    confusion = content.confusion
    label = content.class_columns[0] if content.class_columns else "class"
    sections = [
        ("training", "Training", content.epochs or content.stages),
        ("figures", "Figures", content.figures),
        ("confusion", "Confusion matrix", confusion and (confusion.counts or confusion.pairs)),
        ("classes", f"Each {label}", content.classes),
        ("calibration", "Calibration", content.calibration),
        ("images", "Images", content.galleries),
        ("map", "Feature map", content.map_points),
        ("data", "Data", content.data or content.warnings),
        ("use", "Use it, make it again", content.commands),
        ("settings", "Settings and versions", content.config or content.versions),
        ("missing", "Not shown", content.missing),
    ]
    return [(name, title) for name, title, something in sections if something]


def _stops(chart: Chart) -> list[dict[str, Any]]:
    return [
        {"x": stop.x, "title": printable(stop.title), "values": stop.values, "dots": stop.dots} for stop in chart.stops
    ]


def _rows(content: ReportContent) -> Sequence[Sequence[Any]]:
    """Return the rows of the table of classes: the name, then of each figure its text and its interval."""
    return [
        [printable(name), *([formats.value(figure), formats.interval(figure)] for figure in figures)]
        for name, figures in content.classes
    ]
