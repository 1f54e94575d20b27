"""What ``tl runs show`` prints of a run."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tl_toolkit.cli import console
from tl_toolkit.cli.results import print_results
from tl_toolkit.events import TRAINED, EvalRecord
from tl_toolkit.io.files import display_data, display_path, format_seconds, format_size
from tl_toolkit.text import plural

if TYPE_CHECKING:
    from tl_toolkit.runs.details import RunDetails

VERSIONS = ("tl_toolkit", "torch", "torchvision", "timm")
"""Packages whose versions are shown; summary.json has more."""


def print_details(details: "RunDetails") -> None:
    """Print a run: what was trained on what, settings and files; then what `tl finetune` printed at its end."""
    for problem in details.problems:
        console.print_warning(problem)
    listed, summary = details.listed, details.summary
    detail = "" if details.problems else listed.detail
    state = f"{listed.state}: {detail}" if detail else listed.state
    facts = _facts_of_finished(summary) if summary else _facts_of_settings(details.settings)
    console.print_rows([("run", display_path(listed.path)), ("state", state), *facts])
    if details.changed:
        console.print_blank()
        rows = [[name, _shown(name, value)] for name, value in details.changed.items()]
        console.print_table(["setting", "value"], rows, "Settings that are not the defaults")
    console.print_blank()
    console.print_table(["file", "size"], [[name, format_size(size)] for name, size in details.files], numbers=1)
    console.print_blank()
    if summary:
        print_results(listed.path, summary, [])
    else:
        _print_so_far(details)


def _facts_of_finished(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what was trained from what on what; earlier versions wrote less of it."""
    known = {name: str(value) for name, value in summary.items() if isinstance(value, str | int)}
    versions = summary.get("versions")
    rows = [
        ("network", " from ".join(known[name] for name in ("arch", "weights") if name in known)),
        ("data", display_data(known["data"]) if "data" in known else ""),
        ("images", _images(summary)),
        ("tune", known.get("tune", "")),
        ("computed", ", ".join(known[name] for name in ("device", "precision") if name in known)),
        ("seed", known.get("seed", "")),
        ("dropped", plural(len(dropped), "image") if (dropped := summary.get("dropped_images")) else ""),
    ]
    if isinstance(versions, dict):
        rows.append(("versions", ", ".join(f"{name} {versions[name]}" for name in VERSIONS if name in versions)))
    return [(name, value) for name, value in rows if value]


def _images(summary: Mapping[str, Any]) -> str:
    """Return the number of images of each split, and of classes."""
    splits = [(split, summary.get(f"{split}_images")) for split in ("train", "val", "test")]
    counts = [f"{count:,} {split}" for split, count in splits if isinstance(count, int) and count]
    classes = summary.get("classes")
    return ", ".join(counts) + (f"; {classes:,} classes" if isinstance(classes, int) else "")


def _facts_of_settings(settings: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what a run that is not finished was asked to train."""
    found = {name: settings.get(name) for name in ("arch", "data", "tune")}
    return [(name, _shown(name, value)) for name, value in found.items() if isinstance(value, str)]


def _shown(name: str, value: object) -> str:
    if name == "data" and isinstance(value, str):
        return display_data(value)
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _print_so_far(details: "RunDetails") -> None:
    """Print the best evaluation of each stage so far, and how the run goes on."""
    best: dict[str, EvalRecord] = {}
    for record in details.evaluations:
        if record.improves_on(best.get(record.stage)):
            best[record.stage] = record
    if best:
        rows = [
            [stage, TRAINED.get(stage, ""), console.percent(record.score), f"{record.epoch}"]
            for stage, record in best.items()
        ]
        name = "val" if details.evaluations[0].score_name == "accuracy" else "val mAP"
        console.print_table(["stage", "trains", f"best {name}", "at epoch"], rows, numbers=2)
        console.print_rows([("trained", format_seconds(sum(record.seconds for record in details.evaluations)))])
        console.print_blank()
    run = display_path(details.listed.path, tilde=False)
    if details.listed.state == "imported":
        console.print_commands([["tl", "evaluate", "--model", run, "DATA"], ["tl", "predict", "--model", run, "IMAGE"]])
    elif details.listed.state == "training":
        console.print_line("A process trains this run now.")
    elif details.listed.state == "stopped" or (details.settings and not details.summary):
        console.print_commands([["tl", "finetune", "--resume", run]])
