"""``tl data info``, ``tl data check`` and ``tl data get``."""

from pathlib import Path
from typing import Annotated

import typer

from tl_toolkit.cli import console
from tl_toolkit.cli.early import check_early
from tl_toolkit.cli.loading import loading
from tl_toolkit.cli.options import DATA_ROOT, UNREADABLE, DataRootOption, DownloadOption, JsonOption
from tl_toolkit.errors import UsageError
from tl_toolkit.io.files import display_path

WRONG = 1
"""Exit code of a check that found what would make the figures of a run wrong."""

MAX_LISTED = 20
"""Images that cannot be read which are listed where --csv lists all."""

app = typer.Typer(help="Look at images before training, or download a dataset.", no_args_is_help=True)


@app.command()
def info(
    spec: Annotated[str, typer.Argument(help="A folder, `digits` or `torchvision:NAME`.")],
    data_root: DataRootOption = None,
    download: DownloadOption = False,
    as_json: JsonOption = False,
) -> None:
    """Show classes, counts, image sizes and modes, and warn of anything odd. Every image is decoded."""
    check_early(data=spec)
    with loading():
        from tl_toolkit.cli.progress import ProgressDisplay
        from tl_toolkit.data.quality.describe import describe
        from tl_toolkit.data.sources.base import open_source
        from tl_toolkit.events import download_progress

    with ProgressDisplay(console.status_console(to_stderr=True)) as narration:
        source = open_source(spec, data_root or Path(DATA_ROOT), download, download_progress(narration))
        described = describe(source, narration)
    if as_json:
        console.print_json(described.to_dict())
    else:
        splits = list(described.splits)
        rows = [
            [name, *(f"{described.splits[split].class_counts[index]:,}" for split in splits)]
            for index, name in enumerate(described.class_names)
        ]
        totals = ["all", *(f"{described.splits[split].images:,}" for split in splits)]
        title = f"{described.name}, {len(described.class_names)} classes"
        console.print_table(["class", *splits], [*rows, totals], title, numbers=len(splits))
        console.print_blank()
        console.print_table(["pixels", "smallest", "median", "largest"], described.size_rows(), numbers=3)
        console.print_blank()
        console.print_rows([("modes", ", ".join(f"{mode} {count:,}" for mode, count in described.modes.items()))])
        for oddity in described.oddities:
            console.print_warning(oddity)
        console.print_bad_images([(image.path, image.reason) for image in described.bad_images])
    if described.bad_images:
        raise typer.Exit(UNREADABLE)


@app.command(
    epilog="Exit codes: 0 nothing is wrong, or only odd; 1 images are in several splits or classes; 3 images cannot be "
    "read."
)
def check(
    spec: Annotated[str, typer.Argument(help="A folder, `digits` or `torchvision:NAME`.")],
    csv: Annotated[Path | None, typer.Option(help="Write every image that something is wrong with.")] = None,
    data_root: DataRootOption = None,
    download: DownloadOption = False,
    as_json: JsonOption = False,
) -> None:
    """Decode every image and report unreadable and identical ones, near duplicates, and classes of odd size."""
    if csv is not None and csv.exists():
        raise UsageError(f"{csv} exists; nothing is ever overwritten. Choose another name.")
    if csv is not None and not csv.parent.is_dir():
        raise UsageError(f"There is no folder {csv.parent} for {csv.name}. Make it, or choose another.")
    check_early(data=spec)
    with loading():
        from tl_toolkit.cli.progress import ProgressDisplay
        from tl_toolkit.data.quality.scan import check_data
        from tl_toolkit.data.sources.base import open_source

    with ProgressDisplay(console.status_console(to_stderr=True)) as narration:
        found = check_data(open_source(spec, data_root or Path(DATA_ROOT), download), narration)
    if csv is not None:
        found.write(csv)
    if as_json:
        console.print_json(found.to_dict())
    else:
        counts = ", ".join(f"{sum(sizes):,} {split}" for split, sizes in found.class_counts.items())
        console.print_rows(
            [("data", f"{found.name}, {len(found.class_names)} classes: {counts} images that can be read")]
        )
        bad = [(each.path, each.reason) for each in found.problems if each.problem == "unreadable"]
        console.print_bad_images(bad, MAX_LISTED)
        for warning in found.warnings:
            console.print_warning(warning)
        if not (bad or found.warnings):
            console.print_rows([("problems", "none")])
        if csv is not None:
            console.print_rows([("report", f"{display_path(csv)}: {len(found.problems):,} images")])
    if found.wrong:
        raise typer.Exit(WRONG)
    if found.unreadable:
        raise typer.Exit(UNREADABLE)


@app.command()
def get(
    name: Annotated[str, typer.Argument(help="A torchvision dataset, such as mnist, cifar10 or flowers102.")],
    data_root: DataRootOption = None,
) -> None:
    """Download a torchvision dataset, once, for `--data torchvision:NAME`."""
    name = name.removeprefix("torchvision:")
    check_early(data=f"torchvision:{name}")
    with loading():
        from tl_toolkit.cli.progress import ProgressDisplay
        from tl_toolkit.data.sources.torchvision import open_torchvision
        from tl_toolkit.events import download_progress

    root = data_root or Path(DATA_ROOT)
    with ProgressDisplay(console.status_console(to_stderr=True)) as narration:
        splits, class_names, _ = open_torchvision(name, root, True, download_progress(narration))
    counts = ", ".join(f"{len(samples):,} {split}" for split, samples in splits.items())
    console.print_rows(
        [
            ("data", f"torchvision:{name}, {len(class_names)} classes: {counts} images"),
            ("folder", display_path(root)),
        ]
    )
    console.print_commands([["tl", "finetune", f"torchvision:{name}"]])
