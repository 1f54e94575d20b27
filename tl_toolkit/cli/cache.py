"""``tl cache``."""

import datetime
from typing import Annotated

import typer

from tl_toolkit.cli import console
from tl_toolkit.cli.options import JsonOption
from tl_toolkit.io.files import display_path, format_size

app = typer.Typer(help="Show or empty the cache of what frozen networks give.", invoke_without_command=True)


@app.callback()
def show(context: typer.Context, as_json: JsonOption = False) -> None:
    """List what earlier runs keep on disk, the last used first: what frozen layers give for each image.

    It is kept for later epochs and runs, below TL_CACHE or the system's folder for caches. Nothing is lost when it is
    emptied but time.
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
    rows = [[entry.what, _when(entry.used), f"{entry.images:,}", format_size(entry.size)] for entry in entries]
    total = format_size(sum(entry.size for entry in entries))
    console.print_table(["what", "last used", "images", "size"], rows, f"{display_path(folder)}: {total}", numbers=2)


@app.command()
def clear(
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Empty the cache. A run that is reading it goes on."""
    from tl_toolkit.io.row_cache import cache_folder, list_entries, remove

    entries = list_entries(cache_folder())
    what = f"{len(entries)} {'entry' if len(entries) == 1 else 'entries'}, {format_size(sum(e.size for e in entries))}"
    if entries and not yes:
        typer.confirm(f"Remove {what}, from {display_path(cache_folder())}?", abort=True)
    remove(entries)
    console.print_result(f"Removed {what}.")


def _when(seconds: float) -> str:
    return f"{datetime.datetime.fromtimestamp(seconds):%Y-%m-%d %H:%M}"
