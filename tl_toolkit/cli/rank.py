"""``tl rank``."""

from pathlib import Path
from typing import Annotated, Any

import typer

from tl_toolkit.cli import console, options
from tl_toolkit.cli.early import check_early
from tl_toolkit.cli.loading import loading
from tl_toolkit.config.choices import DIGITS, KINDS
from tl_toolkit.config.finetune import FinetuneConfig
from tl_toolkit.io.files import display_path, format_size


@options.with_source_flags
def rank(
    *,
    images: options.DataArgument = None,
    data: Annotated[str | None, typer.Option(help=f"Images: {KINDS}.", show_default=DIGITS)] = None,
    arch: Annotated[
        str | None,
        typer.Option(
            help="Networks to compare, such as resnet18,timm:resnet10t; downloads missing weights.",
            show_default="those that come with tl",
        ),
    ] = None,
    weights: Annotated[str, typer.Option(help="Pretrained weights: auto, imagenet, package or bundled.")] = "auto",
    tune: Annotated[str, typer.Option(help="What `tl finetune` would train, to estimate its time.")] = "auto",
    image_size: Annotated[
        int | None,
        typer.Option(min=8, help="Height and width of the input.", show_default="the network's, and smaller"),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the sample.")] = 0,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Plot accuracy over time to a PNG, PDF or SVG file.")
    ] = None,
    device: options.DeviceOption = "auto",
    precision: options.PrecisionOption = "auto",
    threads: options.ThreadsOption = None,
    as_json: options.JsonOption = False,
    **reading: Any,
) -> None:
    """Compare networks on your images in seconds, without training them.

    A cross-validated linear probe scores each network on its frozen features
    of up to 1,000 training images, at its own input size and at smaller ones.
    By default, `tl finetune` chooses among the same networks.
    """
    requested = options.only_data(images, data)
    data = DIGITS if requested is None else requested
    values: dict[str, Any] = {"data": data, "weights": weights, "tune": tune, "image_size": image_size, "seed": seed}
    values |= {"device": device, "precision": precision, "threads": threads}
    config = FinetuneConfig.from_values(values, options.flags_set(reading))
    if plot:
        from tl_toolkit.report.figures import check_figure_file

        check_figure_file(plot, "plot")
    check_early(data=data)
    with loading():
        from tl_toolkit.cli.progress import ProgressDisplay
        from tl_toolkit.planning.ranking import choose_network
        from tl_toolkit.recipes.rank import rank as recipe

    with ProgressDisplay(console.status_console(to_stderr=True)) as display:
        archs = [name.strip() for name in arch.split(",")] if arch else ()
        ranked = recipe(config, archs=archs, callback=display)
    chosen = choose_network(ranked)
    if plot:
        from tl_toolkit.report.pareto import Point, draw_pareto

        points = []
        for network in ranked:
            label, milliseconds = f"{network.name} {network.image_size} px", 1000 * network.seconds_per_image
            points.append(Point(label, milliseconds, network.score, network.standard_error))
        draw_pareto(points, plot, chosen.score_name)
    if as_json:
        console.print_json([network.to_dict() | {"chosen": network is chosen} for network in ranked])
        return
    rows = [
        [
            network.name,
            f"{network.image_size} px",
            f"{console.percent(network.score)} ± {100 * network.standard_error:.1f}",
            f"{network.feature_seconds:.1f} s" if network.feature_seconds else "cached",
            f"{network.training_seconds:.0f} s",
            format_size(network.parameter_bytes),
            "chosen" if network is chosen else "",
        ]
        for network in ranked
    ]
    columns = ["network", "input", chosen.score_name, "features", "training", "file", ""]
    console.print_table(columns, rows, "Linear probe, cross-validated", numbers=6)
    console.print_blank()
    if plot:
        console.print_rows([("plot", f"{display_path(plot)}: {chosen.score_name} over time")])
    flags = ["--arch", chosen.arch, "--weights", chosen.weights, "--image-size", str(chosen.image_size)]
    console.print_commands([["tl", "finetune", data, *options.as_typed(options.flags_set(reading)), *flags]])
