"""``tl runs``, ``tl runs show`` and ``tl runs rm``."""

import os
import shlex
import sys
from datetime import datetime
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from typer.core import TyperGroup

from tl_toolkit.cli import console
from tl_toolkit.cli.options import JsonOption, with_flowing_help
from tl_toolkit.cli.run_names import complete_runs
from tl_toolkit.errors import UsageError
from tl_toolkit.io.files import display_path, expand_path, format_seconds, format_size, is_file, is_folder
from tl_toolkit.text import join_names, plural

if TYPE_CHECKING:
    from tl_toolkit.runs.listing import ListedRun

LISTED = ("run", "date", "arch", "data", "tune", "classes", "val", "test", "time", "size", "state")
"""The columns of the list."""

NARROW = ("tune", "classes", "arch", "data", "size", "time", "date", "val")
"""Columns that a narrow terminal has no room for, the first one first: the usual name has date, network and data."""

MAX_STATE = 80
"""Characters of a state; `tl runs show` and --json have all of them."""

LIST = "list"


class RunsGroup(TyperGroup):
    """Commands on runs, of which `list` may be left out: `tl runs FOLDER`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put `list` before arguments that name no command."""
        if not args or (args[0] not in self.commands and args[0] not in ctx.help_option_names):
            args = [LIST, *args]
        return super().parse_args(ctx, args)


app = typer.Typer(cls=RunsGroup, help="List runs, show one in full, or remove some.")

RunName = Annotated[
    str,
    typer.Argument(
        metavar="RUN", help="A run folder, or its name under runs/.", autocompletion=complete_runs, show_default=False
    ),
]


@app.command(LIST, epilog="Example: tl runs --data photos --sort test")
@with_flowing_help
def list_(
    folder: Annotated[str | None, typer.Argument(help="A folder of runs.", show_default="runs")] = None,
    data: Annotated[str | None, typer.Option(metavar="TEXT", help="Only runs on data with TEXT in its name.")] = None,
    arch: Annotated[str | None, typer.Option(metavar="TEXT", help="Only networks with TEXT in their name.")] = None,
    state: Annotated[
        Literal["finished", "training", "stopped", "imported", "damaged"] | None,
        typer.Option(metavar="NAME", help="Only runs that are finished, training, stopped, imported or damaged."),
    ] = None,
    sort: Annotated[
        Literal["date", "test", "val", "time", "size", "name"],
        typer.Option(metavar="NAME", help="date, test, val, time, size or name."),
    ] = "date",
    as_json: JsonOption = False,
) -> None:
    """List runs, the newest first, with what they measured and its 95 % interval.

    A run that was stopped can be resumed where it was: tl finetune --resume RUN.
    """
    from tl_toolkit.runs.folder import RUNS
    from tl_toolkit.runs.listing import filtered, list_runs, ordered

    place = RUNS if folder is None else expand_path(folder)
    if folder is not None:
        _check_folder(place)
    found = list_runs(place) if is_folder(place) else []
    runs = ordered(filtered(found, data, arch, state), sort)
    if as_json:
        console.print_json([_plain(run) for run in runs])
        return
    if not runs:
        none = f"none of {plural(len(found), 'folder')} is such a run" if found else "none yet"
        console.print_rows([("runs", f"{display_path(place)}: {none}")])
        if not found:
            console.print_commands([["tl", "finetune", "--data", "FOLDER"]])
        return
    rows = [_row(run) for run in runs]
    tested = any(run.score("test") is not None for run in runs)
    columns = console.fitting_columns(LISTED, rows, [name for name in NARROW if tested or name != "val"])
    kept = [LISTED.index(column) for column in columns]
    size = format_size(sum(run.size for run in runs))
    title = f"{display_path(place)}: {plural(len(runs), 'folder')}, {size}"
    console.print_table(columns, [[row[index] for index in kept] for row in rows], title)


def _check_folder(place: Path) -> None:
    """Refuse what is no folder of runs.

    Raises:
        UsageError: It is a run itself, or there is none.
    """
    from tl_toolkit.io.own_files import CONFIG_FILE

    if is_file(place / CONFIG_FILE):
        raise UsageError(f"{place} is a run, not a folder of runs: tl runs show {shlex.quote(str(place))}")
    if not is_folder(place):
        near = get_close_matches(str(place), ["show", "rm", LIST], n=1)
        hint = f" Did you mean tl runs {near[0]}?" if near else ""
        raise UsageError(f"There is no folder {str(place)!r}.{hint} `tl runs` lists the runs of this folder.")


def _row(run: "ListedRun") -> list[str]:
    detail = run.detail.replace(f"{run.path}{os.sep}", "").partition("\n")[0]
    state = run.state if run.state == "finished" else f"{run.state}: {detail}"
    return [
        run.path.name,
        _date(run),
        run.text("arch"),
        _short_data(run),
        run.text("tune"),
        _classes(run),
        _scored(run, "val"),
        _scored(run, "test"),
        "" if run.seconds is None else format_seconds(run.seconds),
        format_size(run.size),
        state if len(state) <= MAX_STATE else f"{state[: MAX_STATE - 3]}...",
    ]


def _date(run: "ListedRun") -> str:
    return f"{datetime.fromtimestamp(run.changed):%Y-%m-%d %H:%M}"


def _classes(run: "ListedRun") -> str:
    return run.text("classes") if run.state == "finished" else ""  # In the settings it is the number of logits.


def _short_data(run: "ListedRun") -> str:
    """Return the name of a run's data: of a path only the last part."""
    data = run.text("data")
    return data if ":" in data else Path(data).name


def _scored(run: "ListedRun", split: str) -> str:
    """Return what a run measured, such as 95.4 % (91 to 98 %)."""
    score, interval = run.score(split), run.interval(split)
    if score is None:
        return ""
    name = "mAP " if run.score_name == "mean_average_precision" else ""
    ends = f" ({100 * interval[0]:.0f} to {100 * interval[1]:.0f} %)" if interval else ""
    return f"{name}{console.percent(score)}{ends}"


def _plain(run: "ListedRun") -> dict[str, Any]:
    return {
        "run": str(run.path),
        "state": run.state,
        "detail": run.detail,
        "date": datetime.fromtimestamp(run.changed).isoformat(timespec="seconds"),
        "arch": run.text("arch") or None,
        "data": run.text("data") or None,
        "tune": run.text("tune") or None,
        "classes": int(_classes(run)) if _classes(run).isdecimal() else None,
        "figure": run.score_name if run.state == "finished" else None,
        "val": run.score("val"),
        "val_interval": run.interval("val"),
        "test": run.score("test"),
        "test_interval": run.interval("test"),
        "seconds": run.seconds,
        "bytes": run.size,
    }


@app.command()
@with_flowing_help
def show(run: RunName, as_json: JsonOption = False) -> None:
    """Show a run in full: how far it is, its settings that are not the defaults, files, figures, next commands."""
    from tl_toolkit.runs.details import read_details
    from tl_toolkit.runs.folder import find_run

    folder = find_run(run)
    found = read_details(folder)
    if as_json:
        plain = {**_plain(found.listed), "settings": found.settings, "changed_settings": found.changed}
        evaluations = [record.to_dict() for record in found.evaluations]
        files = [{"file": name, "bytes": size} for name, size in found.files]
        console.print_json({**plain, "summary": found.summary, "evaluations": evaluations, "files": files})
        return
    from tl_toolkit.cli.run_details import print_details

    print_details(found)


@app.command(epilog="Example: tl runs rm 2026-11-22-resnet18-photos")
@with_flowing_help
def rm(
    runs: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN ...",
            help="Run folders, or their names under runs/.",
            autocompletion=complete_runs,
            show_default=False,
        ),
    ],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False,
) -> None:
    """Remove runs: their models, checkpoints, settings and figures. Nothing brings them back.

    Only files that a run writes are removed, only within the working directory
    or runs/, and no link is followed. Other files in a run folder stay, and so
    does the folder.
    """
    from tl_toolkit.runs.removal import plan_removal, remove_run

    plans = {plan.folder.resolve(): plan for plan in map(plan_removal, runs)}  # One that is named twice counts once.
    removals = list(plans.values())
    rows = [[display_path(plan.folder), plural(len(plan.files), "file"), format_size(plan.size)] for plan in removals]
    total = format_size(sum(plan.size for plan in removals))
    what = f"{plural(len(removals), 'run')}, {total}"
    if not yes:
        if not can_ask():
            raise UsageError(f"Nothing was removed: {what}. Nobody can be asked without a terminal; say --yes.")
        console.print_table(["run", "files", "size"], rows, numbers=2)
    for plan in removals:
        if plan.kept:
            names = join_names(plan.kept)
            console.print_warning(f"{display_path(plan.folder)} has other files, which stay with the folder: {names}.")
    if not yes:
        typer.confirm(f"Remove {what}?", abort=True)
    for plan in removals:
        remove_run(plan)
    console.print_result(f"Removed {what}.")


def can_ask() -> bool:
    """Return whether someone at a terminal can answer."""
    return sys.stdin.isatty()
