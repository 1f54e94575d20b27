"""``tl cache``."""

from datetime import datetime
from typing import Annotated

import typer

from tl_toolkit.cli import console
from tl_toolkit.cli.options import JsonOption
from tl_toolkit.io.files import display_path, format_size

app = typer.Typer(help="List or clear the feature cache.", invoke_without_command=True)


@app.callback()
def show(context: typer.Context, as_json: JsonOption = False) -> None:
    """List the feature cache, most recently used first: the outputs of frozen layers for each image.

    Later epochs and runs reuse them. The cache lies in TL_CACHE or the system's cache folder. Clearing it only
    costs time.
    """
    if context.invoked_subcommand:
        return
    from tl_toolkit.io.row_cache import cache_folder, list_entries

    folder = cache_folder()
    entries = list_entries(folder)
    if as_json:
        console.print_json([entry.to_dict() for entry in entries])
        return
    if not entries:
        console.print_rows([("cache", f"{display_path(folder)}: empty")])
        return
    rows = []
    for entry in entries:
        used = datetime.fromtimestamp(entry.used)
        rows.append([entry.what, f"{used:%Y-%m-%d %H:%M}", f"{entry.images:,}", format_size(entry.size)])
    total = format_size(sum(entry.size for entry in entries))
    console.print_table(["what", "last used", "images", "size"], rows, f"{display_path(folder)}: {total}", numbers=2)


@app.command()
def clear(
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False,
) -> None:
    """Clear the cache. Runs that read it continue."""
    from tl_toolkit.io.row_cache import cache_folder, list_entries, remove

    entries = list_entries(cache_folder())
    what = f"{len(entries)} {'entry' if len(entries) == 1 else 'entries'}, {format_size(sum(e.size for e in entries))}"
    if entries and not yes:
        typer.confirm(f"Remove {what}, from {display_path(cache_folder())}?", abort=True)
    remove(entries)
    console.print_result(f"Removed {what}.")
