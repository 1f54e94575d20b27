"""summary.json: the results of a finished run."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tl_toolkit.errors import ToolkitError
from tl_toolkit.io.files import write_text
from tl_toolkit.io.json_validation import duration, mapping, number, whole_number
from tl_toolkit.text import format_value, named

if TYPE_CHECKING:
    pass  # With it comes torch, which takes seconds.


SUMMARY_FILE = "summary.json"


def write_summary(folder: Path, summary: dict[str, Any]) -> Path:
    """Writes summary.json."""
    path = folder / SUMMARY_FILE
    write_text(path, json.dumps(summary, indent=2, ensure_ascii=False) + "\n", undecodable="backslashreplace")
    return path


def read_summary(folder: Path) -> dict[str, Any] | None:
    """The results of a finished run; None where it is not finished.

    Raises:
        ToolkitError: The file is damaged.
    """
    path = folder / SUMMARY_FILE
    again = f"Remove it, and {named('resume')} writes it again"
    try:
        summary = mapping(json.loads(path.read_text(encoding="utf-8")), "it")
        _check_summary(summary)
    except FileNotFoundError:
        return None
    except KeyError as error:
        raise ToolkitError(f"{path} is damaged: it lacks {error}. {again}.") from error
    except (OSError, ValueError, RecursionError) as error:
        raise ToolkitError(f"{path} is damaged: {error}. {again}.") from error
    return summary


def _check_summary(summary: dict[str, Any]) -> None:
    """Looks at what is told again of a run that was finished before.

    Raises:
        KeyError: Something is missing.
        ValueError: Something makes no sense.
    """
    for name in ("epochs", "val_images", "test_images"):
        whole_number(summary[name], name)
    duration(summary["seconds"], "seconds")
    measured = {name: summary[name] for name in ("val_accuracy", "test_accuracy")}
    if measured["test_accuracy"] is None:  # Without a test split.
        del measured["test_accuracy"]
    for name, value in (measured | mapping(summary["class_accuracy"], "class_accuracy")).items():
        number(value, name)
    if not isinstance(summary["run"], str) or not isinstance(summary["bad_images"], list):
        raise ValueError("its run is no text, or its bad_images are no list")
    if "stages" in summary:  # Runs of earlier versions do not have them.
        _check_stages(mapping(summary["stages"], "stages"), summary)


def _check_stages(stages: dict[str, Any], summary: dict[str, Any]) -> None:
    """Looks at what each stage brought; in runs of earlier versions its best accuracy stands there alone.

    Raises:
        KeyError: Something is missing.
        ValueError: Something makes no sense.
    """
    whole_number(summary["best_epoch"], "best_epoch")
    if summary["best_stage"] not in list(stages):
        raise ValueError(f"its best_stage {format_value(summary['best_stage'])} is none of its stages")
    for stage, best in stages.items():
        if isinstance(best, dict):
            whole_number(best["epoch"], f"epoch of {stage}")
            best = best["val_accuracy"]
        number(best, f"val_accuracy of {stage}")
