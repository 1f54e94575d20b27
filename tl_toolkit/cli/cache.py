"""``tl cache``."""

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from tl_toolkit.cli import console
from tl_toolkit.cli.options import JsonOption
from tl_toolkit.io.files import display_path, format_size

if TYPE_CHECKING:
    from tl_toolkit.io.row_cache import CacheEntry  # Imports torch, which takes seconds.

app = typer.Typer(help="List or clear the cache.", invoke_without_command=True)


@app.callback()
def show(context: typer.Context, as_json: JsonOption = False) -> None:
    """List the cache, most recently used first: the outputs of frozen layers for each image, and remote files.

    Later epochs and runs reuse them. The cache lies in TL_CACHE or the system's cache folder. Clearing it only
    costs time.
    """
    if context.invoked_subcommand:
        return
    from tl_toolkit.io.row_cache import cache_folder

    folder = cache_folder()
    entries = _entries()
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


def _entries() -> "list[CacheEntry]":
    from tl_toolkit.io.remote_files import list_remote_files
    from tl_toolkit.io.row_cache import cache_folder, list_entries

    folder = cache_folder()
    return sorted([*list_entries(folder), *list_remote_files(folder)], key=lambda entry: -entry.used)


@app.command()
def clear(
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False,
) -> None:
    """Clear the cache. Runs that read it continue."""
    from tl_toolkit.io.row_cache import cache_folder, remove

    entries = _entries()
    what = f"{len(entries)} {'entry' if len(entries) == 1 else 'entries'}, {format_size(sum(e.size for e in entries))}"
    if entries and not yes:
        typer.confirm(f"Remove {what}, from {display_path(cache_folder())}?", abort=True)
    remove(entries)
    console.print_result(f"Removed {what}.")
