"""``tl data pack``."""

from pathlib import Path
from typing import Annotated, Any

import typer

from tl_toolkit.cli import console
from tl_toolkit.cli.early import check_early
from tl_toolkit.cli.loading import loading
from tl_toolkit.cli.options import DataSpec, flags_set, with_source_flags
from tl_toolkit.errors import UsageError
from tl_toolkit.io.files import display_path, expand_path, format_size, parse_size
from tl_toolkit.text import format_value, plural

SHARD_SIZE = "256MB"
"""Large enough to read in one go, and small enough to fetch a few at a time."""

SMALLEST = 10**6


@with_source_flags
def pack(
    *,
    spec: DataSpec,
    out: Annotated[Path, typer.Option(help="A new folder for the shards.")],
    shard_size: Annotated[
        str, typer.Option(metavar="SIZE", help="Start another shard before one is larger, such as 256MB or 1GiB.")
    ] = SHARD_SIZE,
    **reading: Any,
) -> None:
    """Write images as tar shards in WebDataset's layout, with an index and checksums; `--data SHARDS/` reads them.

    Image files keep their bytes; images that are pixels in memory become PNG. Train, val and test get a folder each.
    """
    shard_bytes = parse_size(shard_size)
    if shard_bytes is None or shard_bytes < SMALLEST:
        raise UsageError(f"--shard-size {format_value(shard_size)} is no size of 1MB or more, such as {SHARD_SIZE}.")
    check_early(data=spec)
    folder = expand_path(out)
    with loading():
        from tl_toolkit.cli.progress import ProgressDisplay
        from tl_toolkit.data.packing import check_is_empty, pack_source
        from tl_toolkit.data.sources.base import SourceOptions, open_source
        from tl_toolkit.events import download_progress

    check_is_empty(folder)
    with ProgressDisplay(console.status_console(to_stderr=True)) as display:
        source = open_source(spec, SourceOptions.from_settings(flags_set(reading), download_progress(display)))
        for note in source.notes:
            console.print_warning(note)
        packed = pack_source(source, folder, shard_bytes, display)
    counts = ", ".join(f"{len(samples):,} {split}" for split, samples in source.splits.items())
    found = f"{source.name}, {len(source.class_names)} classes: {counts} images"
    where = f"{display_path(folder)}: {plural(len(packed.index.shards), 'shard')}, {format_size(packed.size)}"
    console.print_rows([("data", found), ("shards", where)])
    console.print_commands([["tl", "finetune", display_path(folder, tilde=False)]])
