"""``tl data split``."""

from pathlib import Path
from typing import Annotated, Any

import typer

from tl_toolkit.cli import console
from tl_toolkit.cli.early import check_early
from tl_toolkit.cli.loading import loading
from tl_toolkit.cli.options import DataSpec, flags_set, with_source_flags
from tl_toolkit.errors import UsageError
from tl_toolkit.io.files import check_new_file, display_path, expand_path

DEFAULT_VAL = 0.1
ENDING = ".csv"


@with_source_flags
def split(
    *,
    spec: DataSpec,
    out: Annotated[Path, typer.Option(help="A new table, such as split.csv.")],
    val_split: Annotated[
        float | None,
        typer.Option(
            min=0.0001,
            max=0.9999,
            help="Share of train to use as val.",
            show_default=f"{DEFAULT_VAL} where the data has no val split",
        ),
    ] = None,
    test_split: Annotated[
        float | None,
        typer.Option(min=0.0001, max=0.9999, help="Share of train to use as test.", show_default="none"),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Another seed draws another split.")] = 0,
    **reading: Any,
) -> None:
    """Write a fixed split as a table that names the images; `--data TABLE` reads it back.

    Each class keeps its shares, and --group-column keeps groups whole. Images stay where they are.
    """
    check_early(data=spec)
    path = expand_path(out)
    if path.suffix.lower() != ENDING:
        raise UsageError(f"--out {path} is to be a table: name it {path.stem or 'split'}{ENDING}.")
    check_new_file(path)
    with loading():
        from tl_toolkit.cli.progress import ProgressDisplay
        from tl_toolkit.data.sources.base import SourceOptions, open_source
        from tl_toolkit.data.split_table import check_locations, divide_source, write_split
        from tl_toolkit.events import download_progress

    with ProgressDisplay(console.status_console(to_stderr=True)) as display:
        source = open_source(spec, SourceOptions.from_settings(flags_set(reading), download_progress(display)))
    for note in source.notes:
        console.print_warning(note)
    check_locations(source)
    splits = divide_source(source, val_split, test_split, seed, DEFAULT_VAL)
    labels = write_split(source, splits, path)
    counts = ", ".join(f"{len(samples):,} {name}" for name, samples in splits.items())
    console.print_rows([("data", f"{source.name}: {counts} images"), ("table", display_path(path))])
    flags = [] if len(labels) == 1 else [part for label in labels for part in ("--label-column", label)]
    console.print_commands([["tl", "finetune", display_path(path, tilde=False), *flags]])
