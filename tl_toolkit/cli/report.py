"""``tl report``."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from tl_toolkit.cli import console
from tl_toolkit.cli.early import check_early
from tl_toolkit.cli.loading import loading
from tl_toolkit.cli.options import DeviceOption, JsonOption, ThreadsOption
from tl_toolkit.io.files import check_new_file, display_path, expand_path


def report(
    run: Annotated[
        Path | None, typer.Argument(metavar="RUN", help="A run folder.", show_default="the newest run")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="File to write; it must not exist.", show_default="RUN/report.html, which is replaced"),
    ] = None,
    data: Annotated[
        str | None, typer.Option(help="Where the images are now.", show_default="what the run was trained on")
    ] = None,
    map: Annotated[
        Literal["pca", "umap"],
        typer.Option(help="Projection of the map of all images; umap needs umap-learn and the images."),
    ] = "pca",
    show: Annotated[bool, typer.Option("--open", help="Open the report in the browser.")] = False,
    threads: ThreadsOption = None,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Write a report of a run: one HTML file with results, mistakes, data and settings.

    Every `tl finetune` ends with one. Write it again after you moved or
    relabelled images, for a run of an earlier version, or for one that is not
    finished. What the run did not keep is computed with its model. Without its
    images, the report has no pictures, and says so.
    """
    from tl_toolkit.runs.folder import newest_run

    folder = run or newest_run()
    check_early(run=folder, data=data)
    if out is not None:
        check_new_file(expand_path(out))
    with loading():
        from tl_toolkit.cli.progress import ProgressDisplay
        from tl_toolkit.recipes.report import write_report

    with ProgressDisplay(console.status_console(to_stderr=True)) as display:
        path = write_report(folder, out=out, data=data, map=map, device=device, threads=threads, callback=display)
    if as_json:
        console.print_json({"run": str(folder), "report": str(path)})
    else:
        console.print_rows([("report", display_path(path))])
    if show:
        typer.launch(str(path))
