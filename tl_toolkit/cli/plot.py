"""``tl plot``."""

from pathlib import Path
from typing import Annotated

import typer

from tl_toolkit.cli import console
from tl_toolkit.io.files import display_path

PLOT = Path("plot.png")


def plot(
    runs: Annotated[list[str], typer.Argument(metavar="RUN...", help="Run folders.", show_default=False)],
    out: Annotated[Path, typer.Option(help="The .png, .pdf or .svg file to write; it must not exist.")] = PLOT,
) -> None:
    """Plot the loss and accuracy of one or more runs."""
    from tl_toolkit.runs.metrics_log import read_metrics

    records = [read_metrics(run) for run in runs]
    from tl_toolkit.report.curves import Curve, draw_curves
    from tl_toolkit.report.figures import check_figure_file

    check_figure_file(out, "out")
    labels = [Path(run).absolute().name for run in runs]
    labels = labels if len(set(labels)) == len(runs) else runs
    draw_curves([Curve(label, each) for label, each in zip(labels, records, strict=True)], out)
    metric = " or ".join(dict.fromkeys(each[0].score_name for each in records))
    console.print_rows([("wrote", f"{display_path(out)}: loss and {metric} of {', '.join(labels)}")])
