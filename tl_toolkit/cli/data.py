"""``tl data info``, ``tl data check``, ``tl data pack`` and ``tl data get``."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tl_toolkit.cli import console
from tl_toolkit.cli.early import check_early
from tl_toolkit.cli.loading import loading
from tl_toolkit.cli.options import UNREADABLE, DataSpec, JsonOption, flags_set, with_source_flags
from tl_toolkit.cli.pack import pack
from tl_toolkit.cli.split import split
from tl_toolkit.io.files import check_new_file, display_path

if TYPE_CHECKING:
    from tl_toolkit.data.quality.scan import DataCheck, DataIssue
    from tl_toolkit.data.sources.base import Source
    from tl_toolkit.events import Callback

WRONG = 1
"""Exit code of `tl data check` if images are in several splits or classes, or shards have other bytes."""

MAX_LISTED = 20
"""Unreadable images that `tl data check` lists; --csv lists all."""

TASK_CLASSES = {
    "multi-class": "classes",
    "multi-label": "labels, any number of them an image",
    "soft": "classes, shares of them an image",
}

app = typer.Typer(
    help="Look at images before training, pack or divide them, or download a dataset.", no_args_is_help=True
)
app.command(epilog="Example: tl data pack photos/ --out shards/")(pack)
app.command(epilog="Example: tl data split photos/ --out split.csv --test-split 0.2")(split)


@app.command()
@with_source_flags
def info(
    *,
    spec: DataSpec,
    as_json: JsonOption = False,
    **reading: Any,
) -> None:
    """Show classes, counts, image sizes and modes, and warn of anything odd. Every image is decoded."""
    check_early(data=spec)
    with loading():
        from tl_toolkit.cli.progress import ProgressDisplay
        from tl_toolkit.data.quality.scan import inspect_data
        from tl_toolkit.data.sources.base import SourceOptions, open_source
        from tl_toolkit.events import download_progress

    with ProgressDisplay(console.status_console(to_stderr=True)) as display:
        source = open_source(spec, SourceOptions.from_settings(flags_set(reading), download_progress(display)))
        found = inspect_data(source, display)
    if as_json:
        console.print_json(dataclasses.asdict(found))
    else:
        counts = zip(*(part.class_counts for part in found.splits.values()), strict=True)
        rows = [[name, *map("{:,}".format, row)] for name, row in zip(found.class_names, counts, strict=True)]
        totals = ["all", *(f"{part.images:,}" for part in found.splits.values())]
        one_each = found.task == "multi-class"
        title = f"{found.name}, {len(found.class_names)} {TASK_CLASSES[found.task]}"
        console.print_table(
            ["class" if one_each else "label", *found.splits], [*rows, totals], title, numbers=len(found.splits)
        )
        console.print_blank()
        sizes = [[side, *map("{:,.0f}".format, spread)] for side, spread in found.sizes.items()]
        console.print_table(["pixels", "smallest", "median", "largest"], sizes, numbers=3)
        console.print_blank()
        console.print_rows([("modes", ", ".join(f"{mode} {count:,}" for mode, count in found.modes.items()))])
        for oddity in found.oddities:
            console.print_warning(oddity)
        console.print_bad_images([(image.path, image.reason) for image in found.bad_images])
    if found.bad_images:
        raise typer.Exit(UNREADABLE)


@app.command(
    epilog="Exit codes: 0 nothing is wrong, or only odd; 1 images are in several splits or classes, or a shard is not "
    "as it was packed; 3 images cannot be read."
)
@with_source_flags
def check(
    *,
    spec: DataSpec,
    labels: Annotated[
        bool, typer.Option("--labels", help="Look for wrong labels too, with a pretrained network that comes with tl.")
    ] = False,
    csv: Annotated[Path | None, typer.Option(help="Write every image that something is wrong with.")] = None,
    as_json: JsonOption = False,
    **reading: Any,
) -> None:
    """Decode every image and report unreadable and identical ones, near duplicates, and classes of odd size.

    Of packed shards, compare the checksums too. With --labels, also list images
    that the network takes for another class than they are given, judged by all
    other images.
    """
    if csv is not None:
        check_new_file(csv, "csv")
    check_early(data=spec)
    with loading():
        from tl_toolkit.cli.progress import ProgressDisplay
        from tl_toolkit.data.quality.scan import check_data
        from tl_toolkit.data.sources.base import SourceOptions, open_source
        from tl_toolkit.events import download_progress

    with ProgressDisplay(console.status_console(to_stderr=True)) as display:
        source = open_source(spec, SourceOptions.from_settings(flags_set(reading), download_progress(display)))
        found = check_data(source, display)
        if labels:
            found = dataclasses.replace(found, problems=(*found.problems, *_suspicious_labels(source, display)))
    if csv is not None:
        found.write(csv)
    if as_json:
        console.print_json(dataclasses.asdict(found))
    else:
        _print_check(found, csv)
    if found.wrong:
        raise typer.Exit(WRONG)
    if found.unreadable:
        raise typer.Exit(UNREADABLE)


def _print_check(found: "DataCheck", csv: Path | None) -> None:
    """Print what is wrong with data, and what is odd."""
    counts = ", ".join(f"{images:,} {split}" for split, images in found.images.items())
    classes = f"{len(found.class_names)} {TASK_CLASSES[found.task]}"
    console.print_rows([("data", f"{found.name}, {classes}: {counts} images that can be read")])
    console.print_bad_images([(image.path, image.reason) for image in found.unreadable], MAX_LISTED)
    for warning in found.warnings:
        console.print_warning(warning)
    wrong = [[image.path, image.class_name, image.reason] for image in found.problems if image.problem == "label"]
    if wrong:
        console.print_table(["image", "given", "looks like"], wrong[:MAX_LISTED], "Labels that look wrong")
    if not (found.problems or found.warnings):
        console.print_rows([("problems", "none")])
    if csv is not None:
        console.print_rows([("report", f"{display_path(csv)}: {len(found.problems):,} images")])


def _suspicious_labels(source: "Source", callback: "Callback") -> "list[DataIssue]":
    """Return the images whose labels look wrong."""
    with loading():
        from tl_toolkit.data.quality.scan import DataIssue
        from tl_toolkit.recipes.check_labels import check_labels

    return [
        DataIssue(
            "label",
            0,
            False,
            False,
            label.split,
            label.given,
            label.image,
            f"{label.suggested} ({console.percent(label.suggested_probability)})",
        )
        for label in check_labels(source, callback)
    ]


@app.command()
def get(
    name: Annotated[str, typer.Argument(help="A torchvision dataset, such as mnist, cifar10 or flowers102.")],
    data_root: Annotated[Path, typer.Option(help="Folder of torchvision datasets.")] = Path("datasets"),
) -> None:
    """Download a torchvision dataset, once, for `--data torchvision:NAME`."""
    spec = f"torchvision:{name.removeprefix('torchvision:')}"
    check_early(data=spec)
    with loading():
        from tl_toolkit.cli.progress import ProgressDisplay
        from tl_toolkit.data.sources.base import open_source
        from tl_toolkit.events import download_progress

    with ProgressDisplay(console.status_console(to_stderr=True)) as display:
        source = open_source(spec, data_root=data_root, download=True, progress=download_progress(display))
    counts = ", ".join(f"{len(samples):,} {split}" for split, samples in source.splits.items())
    found = f"{spec}, {len(source.class_names)} classes: {counts} images"
    console.print_rows([("data", found), ("folder", display_path(data_root))])
    console.print_commands([["tl", "finetune", spec]])
