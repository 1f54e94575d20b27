"""``tl rank``."""

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import typer

from tl_toolkit.cli import console
from tl_toolkit.cli.early import check_early
from tl_toolkit.cli.loading import loading
from tl_toolkit.cli.options import (
    DataArgument,
    DeviceOption,
    JsonOption,
    PrecisionOption,
    ThreadsOption,
    only_data,
)
from tl_toolkit.config.choices import DIGITS
from tl_toolkit.config.finetune import FinetuneConfig
from tl_toolkit.io.files import display_path, format_size


def rank(
    images: DataArgument = None,
    data: Annotated[
        str | None, typer.Option(help="Images: a folder, `digits` or `torchvision:NAME`.", show_default=DIGITS)
    ] = None,
    arch: Annotated[
        str | None,
        typer.Option(
            help="Networks to compare, such as resnet18,timm:vit_tiny_patch16_224; weights are downloaded if need be.",
            show_default="those that come with tl",
        ),
    ] = None,
    weights: Annotated[str, typer.Option(help="Pretrained weights: auto, imagenet, package or bundled.")] = "auto",
    tune: Annotated[
        str, typer.Option(help="What would train, to predict how long it takes: as in `tl finetune`.")
    ] = "auto",
    image_size: Annotated[
        int | None,
        typer.Option(min=8, help="Height and width of the input.", show_default="the network's, and smaller"),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the sample.")] = 0,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw accuracy over time as PNG, PDF or SVG.")
    ] = None,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "auto",
    threads: ThreadsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare networks on your images in seconds, before training any.

    Each is judged by a cross-validated linear probe on its frozen features of up to 1,000 images of train, at its own
    input size and at smaller ones. `tl finetune` chooses among the same by default.
    """
    named = only_data(images, data)
    data = DIGITS if named is None else named
    values: dict[str, Any] = {"data": data, "weights": weights, "tune": tune, "image_size": image_size, "seed": seed}
    config = FinetuneConfig.from_values(values, {"device": device, "precision": precision, "threads": threads})
    if plot:
        from tl_toolkit.report.figures import check_figure_file

        check_figure_file(plot)
    check_early(data=data)
    with loading():
        from tl_toolkit.cli.progress import ProgressDisplay
        from tl_toolkit.planning.ranking import choose_network
        from tl_toolkit.recipes.rank import rank as recipe

    with ProgressDisplay(console.status_console(to_stderr=True)) as narration:
        archs = [name.strip() for name in arch.split(",")] if arch else ()
        ranked = recipe(config, archs=archs, callback=narration)
    chosen = choose_network(ranked)
    if plot:
        from tl_toolkit.report.pareto import Point, draw_pareto

        points = [
            Point(
                f"{each.name} {each.image_size} px", 1000 * each.seconds_per_image, each.accuracy, each.standard_error
            )
            for each in ranked
        ]
        draw_pareto(points, plot)
    if as_json:
        console.print_json([dataclasses.asdict(network) | {"chosen": network is chosen} for network in ranked])
        return
    rows = [
        [
            network.name,
            f"{network.image_size} px",
            f"{console.percent(network.accuracy)} ± {100 * network.standard_error:.1f}",
            f"{network.feature_seconds:.1f} s" if network.feature_seconds else "cached",
            f"{network.training_seconds:.0f} s",
            format_size(network.parameter_bytes),
            "chosen" if network is chosen else "",
        ]
        for network in ranked
    ]
    columns = ["network", "input", "accuracy", "features", "training", "file", ""]
    console.print_table(columns, rows, "Linear probe, cross-validated", numbers=6)
    console.print_blank()
    if plot:
        console.print_rows([("plot", f"{display_path(plot)}: accuracy over time")])
    flags = ["--arch", chosen.arch, "--weights", chosen.weights, "--image-size", str(chosen.image_size)]
    console.print_commands([["tl", "finetune", data, *flags]])
