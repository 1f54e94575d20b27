"""The results of a run in the terminal: the accuracy, then the stages, then the next commands."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tl_toolkit.cli import console
from tl_toolkit.errors import UsageError
from tl_toolkit.events import TRAINED
from tl_toolkit.io.files import display_path, format_seconds
from tl_toolkit.runs.folder import BAD_IMAGES_FILE, newest_run
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
    _print_accuracy(folder, summary, total)
    stages = _best_by_stage(summary)
    if len(stages) > 1:
        _print_stages(stages, summary["best_stage"])
    console.print_worst_classes(summary["class_accuracy"], every=verbose)
    console.print_blank()
    if verbose and written:
        console.print_table(["file", "content"], [[path.name, what] for path, what in written])
        console.print_blank()
    console.print_rows([("run", display_path(folder))])
    console.print_commands(_next_commands(folder))


def _print_accuracy(folder: Path, summary: Mapping[str, Any], total: float | None) -> None:
    val = f"{console.percent(summary['val_accuracy'])} of {summary['val_images']:,}"
    tested = summary["test_accuracy"] is not None
    test = f"{console.percent(summary['test_accuracy'])} of {summary['test_images']:,} test images"
    console.print_accuracy(test if tested else f"{val} val images")
    rows = [("val", f"{val} images")] if tested else []
    if "best_stage" in summary:  # Earlier versions did not write it.
        rows.append(("kept", _describe_best(summary)))
    rows.append(("time", format_seconds(summary["seconds"]) + (f", {format_seconds(total)} in all" if total else "")))
    if bad := len(summary["bad_images"]):
        rows.append(("left out", f"{plural(bad, 'image')}: {display_path(folder / BAD_IMAGES_FILE)}"))
    console.print_rows(rows)


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


def _print_stages(stages: Mapping[str, Mapping[str, Any]], best_stage: str) -> None:
    """Print the best val accuracy of each stage, and which later stages did not pay."""
    rows = [
        [stage, TRAINED.get(stage, ""), console.percent(best["val_accuracy"]), str(best.get("epoch", ""))]
        for stage, best in stages.items()
    ]
    console.print_blank()
    console.print_table(["stage", "trains", "best val", "at epoch"], rows, numbers=2)
    names = list(stages)
    if later := names[names.index(best_stage) + 1 :]:
        best, before = max(stages[stage]["val_accuracy"] for stage in later), stages[best_stage]["val_accuracy"]
        verdict = "did not pay" if best <= before else "brought too little to be sure of"
        comparison = f"val {console.percent(best)} at best, {console.percent(before)} with {best_stage}, which is kept."
        console.print_line(f"{join_names(later)} {verdict}: {comparison}")


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
