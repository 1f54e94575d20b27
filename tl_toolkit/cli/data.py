"""``tl data info`` and ``tl data get``."""

from pathlib import Path
from typing import Annotated

import typer

from tl_toolkit.cli import console
from tl_toolkit.cli.options import DATA_ROOT, UNREADABLE, DataRootOption, DownloadOption, JsonOption

app = typer.Typer(help="Look at images before training, or download a dataset.", no_args_is_help=True)


@app.command()
def info(
    spec: Annotated[str, typer.Argument(help="A folder, `digits` or `torchvision:NAME`.")],
    data_root: DataRootOption = None,
    download: DownloadOption = False,
    as_json: JsonOption = False,
) -> None:
    """Show classes, counts, image sizes and modes, and warn of anything odd. Every image is decoded."""
    from tl_toolkit.cli.progress import Narration
    from tl_toolkit.data.sources import open_source
    from tl_toolkit.recipes.describe import describe
    from tl_toolkit.recipes.events import download_progress

    with Narration(console.narrator(to_stderr=True)) as narration:
        source = open_source(spec, data_root or Path(DATA_ROOT), download, download_progress(narration))
        described = describe(source, narration)
    if as_json:
        console.tell_json(described.to_dict())
    else:
        splits = list(described.splits)
        rows = [
            [name, *(f"{described.splits[split].class_counts[index]:,}" for split in splits)]
            for index, name in enumerate(described.class_names)
        ]
        totals = ["all", *(f"{described.splits[split].images:,}" for split in splits)]
        title = f"{described.name}, {len(described.class_names)} classes"
        console.print_table(["class", *splits], [*rows, totals], title, numbers=len(splits))
        console.print_table(["", "smallest", "median", "largest"], described.size_rows(), numbers=3)
        console.tell_result("modes: " + ", ".join(f"{mode} {count:,}" for mode, count in described.modes.items()))
        for oddity in described.oddities:
            console.tell_warning(oddity)
    if described.bad_images:
        raise typer.Exit(UNREADABLE)


@app.command()
def get(
    name: Annotated[str, typer.Argument(help="A torchvision dataset, such as mnist, cifar10 or flowers102.")],
    data_root: DataRootOption = None,
) -> None:
    """Download a torchvision dataset, once, for `--data torchvision:NAME`."""
    from tl_toolkit.cli.progress import Narration
    from tl_toolkit.data.torchvision_datasets import open_torchvision
    from tl_toolkit.recipes.events import download_progress

    name = name.removeprefix("torchvision:")
    root = data_root or Path(DATA_ROOT)
    with Narration(console.narrator(to_stderr=True)) as narration:
        splits, class_names, _ = open_torchvision(name, root, True, download_progress(narration))
    counts = ", ".join(f"{len(samples):,} {split}" for split, samples in splits.items())
    console.tell_result(f"torchvision:{name} is in {root}: {len(class_names)} classes, {counts} images.")
