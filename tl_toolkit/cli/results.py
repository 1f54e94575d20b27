"""What came of a run, for the terminal: the result first, then what each stage brought, then what to do next."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tl_toolkit.cli.console import (
    percent,
    print_accuracy,
    print_blank,
    print_commands,
    print_files,
    print_line,
    print_rows,
    print_table,
    print_worst_classes,
)
from tl_toolkit.errors import UsageError
from tl_toolkit.events import TRAINED
from tl_toolkit.io.files import display_path, format_seconds
from tl_toolkit.runs.folder import BAD_IMAGES_FILE, newest_run
from tl_toolkit.text import join_names


def print_results(
    folder: Path,
    summary: Mapping[str, Any],
    written: list[tuple[Path, str]],
    total: float | None = None,
    verbose: bool = False,
) -> None:
    """Prints a finished run.

    Args:
        folder: The run's.
        summary: The content of its summary.json.
        written: The files that were written, with what they are; none where the run was finished before.
        total: Seconds that the command took; None where it trained nothing.
        verbose: Tell the accuracy of every class, and all files.
    """
    _print_accuracy(folder, summary, total)
    stages = _best_by_stage(summary)
    if len(stages) > 1:
        _print_stages(stages, summary["best_stage"])
    print_worst_classes(summary["class_accuracy"], every=verbose)
    print_blank()
    if verbose and written:
        print_files(written)
        print_blank()
    print_rows([("run", display_path(folder))])
    print_commands(_next_commands(folder))


def _print_accuracy(folder: Path, summary: Mapping[str, Any], total: float | None) -> None:
    val = f"{percent(summary['val_accuracy'])} of {summary['val_images']:,}"
    tested = summary["test_accuracy"] is not None
    test = f"{percent(summary['test_accuracy'])} of {summary['test_images']:,} test images"
    print_accuracy(test if tested else f"{val} val images")
    rows = [("val", f"{val} images")] if tested else []
    if "best_stage" in summary:  # Runs of earlier versions do not have it.
        rows.append(("kept", _describe_kept(summary)))
    rows.append(("time", format_seconds(summary["seconds"]) + (f", {format_seconds(total)} in all" if total else "")))
    if bad := len(summary["bad_images"]):
        rows.append(("left out", f"{bad:,} image{'' if bad == 1 else 's'}: {display_path(folder / BAD_IMAGES_FILE)}"))
    print_rows(rows)


def _describe_kept(summary: Mapping[str, Any]) -> str:
    stage, epoch = summary["best_stage"], summary["best_epoch"]
    peak = _best_by_stage(summary).get(stage, {}).get("epoch", epoch)
    why = "" if peak == epoch else ", the last within a standard error of its best"
    again = ", then solved once more on train and val" if summary.get("refit_on_val") else ""
    return f"{stage}, epoch {epoch}{why}{again}"


def _best_by_stage(summary: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Accuracy and epoch of each stage's best evaluation; runs of earlier versions have the accuracy alone, or none."""
    stages = summary.get("stages", {})
    return {stage: best if isinstance(best, dict) else {"val_accuracy": best} for stage, best in stages.items()}


def _print_stages(stages: Mapping[str, Mapping[str, Any]], kept: str) -> None:
    """What each stage brought, and that those after the one that is kept did not pay."""
    rows = [
        [stage, TRAINED.get(stage, ""), percent(best["val_accuracy"]), str(best.get("epoch", ""))]
        for stage, best in stages.items()
    ]
    print_blank()
    print_table(["stage", "trains", "best val", "at epoch"], rows, numbers=2)
    names = list(stages)
    if vain := names[names.index(kept) + 1 :]:
        best, before = max(stages[stage]["val_accuracy"] for stage in vain), stages[kept]["val_accuracy"]
        verdict = "did not pay" if best <= before else "brought too little to be sure of"
        print_line(
            f"{join_names(vain)} {verdict}: val {percent(best)} at best, {percent(before)} with {kept}, which is kept."
        )


def _next_commands(folder: Path) -> list[list[str]]:
    """Commands that use the run; predict needs no name of the newest one."""
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
