"""The results of a run in the terminal: how it was made, then what it reached and where it is."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tl_toolkit.cli import console
from tl_toolkit.errors import UsageError
from tl_toolkit.events import TRAINED
from tl_toolkit.io.files import display_path, format_seconds
from tl_toolkit.runs.folder import BAD_IMAGES_FILE, REPORT_FILE, newest_run
from tl_toolkit.text import join_names, plural


def print_results(
    folder: Path,
    summary: Mapping[str, Any],
    written: list[tuple[Path, str]],
    total: float | None = None,
    verbose: bool = False,
) -> None:
    """Print the results of a finished run.

    Args:
        folder: The run folder.
        summary: The content of its summary.json.
        written: The files that the command wrote, with descriptions; none where the run was already finished.
        total: Seconds that the command took; None where it trained nothing.
        verbose: Print the accuracy of every class, and all files.
    """
    _print_run(folder, summary, total)
    stages = _best_by_stage(summary)
    if len(stages) > 1:
        _print_stages(stages, summary["best_stage"], *_score(summary)[:2])
    if summary.get("task") == "multi-label":
        precision = summary.get("test_average_precision") or summary["val_average_precision"]
        console.print_worst_classes(precision, every=verbose, columns=("label", "AP"))
    else:
        console.print_worst_classes(summary.get("class_accuracy", {}), every=verbose)
    console.print_blank()
    if verbose and written:
        console.print_table(["file", "content"], [[path.name, what] for path, what in written])
        console.print_blank()
    _print_scores(summary)
    console.print_rows(_places(folder))
    console.print_commands(_next_commands(folder))


def _places(folder: Path) -> list[tuple[str, str]]:
    """Return where the run and its report are."""
    report = folder / REPORT_FILE
    rows = [("run", display_path(folder))]
    return [*rows, ("report", display_path(report))] if report.is_file() else rows


def _print_run(folder: Path, summary: Mapping[str, Any], total: float | None) -> None:
    rows = []
    if "best_stage" in summary:  # Earlier versions did not write it.
        rows.append(("kept", _describe_best(summary)))
    rows.append(("time", format_seconds(summary["seconds"]) + (f", {format_seconds(total)} in all" if total else "")))
    if bad := len(summary["bad_images"]):
        rows.append(("left out", f"{plural(bad, 'image')}: {display_path(folder / BAD_IMAGES_FILE)}"))
    console.print_rows(rows)


def _print_scores(summary: Mapping[str, Any]) -> None:
    """Print the figure that the run chose by of val and test, with their intervals; the last one is highlighted."""
    key, name, of = _score(summary)
    splits = [split for split in ("val", "test") if summary[f"{split}_{key}"] is not None]
    for split in splits:
        interval = (summary.get(f"{split}_intervals") or {}).get(key)  # Earlier versions did not write it.
        figure = console.percent_with_interval(summary[f"{split}_{key}"], interval)
        figure = f"{figure} {of} {plural(summary[f'{split}_images'], 'image')}"
        figure = figure if name == "accuracy" else f"{name} {figure}"
        if split == splits[-1]:
            console.print_accuracy(figure, split)
        else:
            console.print_rows([(split, figure)])


def _score(summary: Mapping[str, Any]) -> tuple[str, str, str]:
    """Return the figure that the run chose by: its key, its name, and the word before the number of images."""
    if summary.get("task") == "multi-label":
        return "mean_average_precision", "mAP", "on"
    return "accuracy", "accuracy", "of"


def _describe_best(summary: Mapping[str, Any]) -> str:
    stage, epoch = summary["best_stage"], summary["best_epoch"]
    peak = _best_by_stage(summary).get(stage, {}).get("epoch", epoch)
    why = "" if peak == epoch else ", the last within a standard error of its best"
    again = ", then solved once more on train and val" if summary.get("refit_on_val") else ""
    return f"{stage}, epoch {epoch}{why}{again}"


def _best_by_stage(summary: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return accuracy and epoch of each stage's best evaluation; earlier versions wrote less, or nothing."""
    stages = summary.get("stages", {})
    return {stage: best if isinstance(best, dict) else {"val_accuracy": best} for stage, best in stages.items()}


def _print_stages(stages: Mapping[str, Mapping[str, Any]], best_stage: str, score: str, name: str) -> None:
    """Print the best score of each stage on val, and which later stages did not pay."""
    key = f"val_{score}"
    rows = [
        [stage, TRAINED.get(stage, ""), console.percent(best[key]), f"{best['epoch']:g}" if "epoch" in best else ""]
        for stage, best in stages.items()
    ]
    console.print_blank()
    val = "val" if name == "accuracy" else f"val {name}"
    console.print_table(["stage", "trains", f"best {val}", "at epoch"], rows, numbers=2)
    names = list(stages)
    if later := names[names.index(best_stage) + 1 :]:
        best, before = max(stages[stage][key] for stage in later), stages[best_stage][key]
        verdict = "did not pay" if best <= before else "brought too little to be sure of"
        kept = f"{console.percent(before)} with {best_stage}, which is kept."
        console.print_line(f"{join_names(later)} {verdict}: {val} {console.percent(best)} at best, {kept}")


def _next_commands(folder: Path) -> list[list[str]]:
    """Return commands that use the run; predict finds the newest run by itself."""
    run = display_path(folder, tilde=False)
    try:
        newest = newest_run().samefile(folder)
    except (OSError, UsageError):
        newest = False
    model = [] if newest else ["-m", run]
    return [
        ["tl", "predict", *model, "IMAGE"],
        ["tl", "predict", *model, "--grid", "grid.png"],
        ["tl", "export", run, "--to", "state-dict", "--out", "model.pt"],
    ]
