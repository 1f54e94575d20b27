"""summary.json: the results of a finished run."""

import json
from pathlib import Path
from typing import Any, Literal

import msgspec

from tl_toolkit.errors import ToolkitError
from tl_toolkit.io.files import write_text
from tl_toolkit.io.json_validation import Count, JsonObject, Seconds, convert, parse_json
from tl_toolkit.text import format_value, named

SUMMARY_FILE = "summary.json"


class _Summary(msgspec.Struct, kw_only=True):
    """The fields that are read back."""

    run: str
    epochs: Count
    val_images: Count
    test_images: Count
    seconds: Seconds
    val_accuracy: float
    test_accuracy: float | None
    class_accuracy: dict[str, float]
    bad_images: list[Any]


class _TaskSummary(msgspec.Struct, kw_only=True):
    """The fields that are read back of a run with several labels an image, or soft labels."""

    run: str
    task: Literal["multi-label", "soft"]
    epochs: Count
    val_images: Count
    test_images: Count
    seconds: Seconds
    bad_images: list[Any]
    best_stage: str
    best_epoch: Count
    stages: dict[str, dict[str, float]]
    val_mean_average_precision: float | None = None
    test_mean_average_precision: float | None = None
    val_average_precision: dict[str, float] = {}
    test_average_precision: dict[str, float] | None = None
    val_accuracy: float | None = None
    test_accuracy: float | None = None

    def __post_init__(self) -> None:
        score = "val_mean_average_precision" if self.task == "multi-label" else "val_accuracy"
        if getattr(self, score) is None:
            raise ValueError(f"it lacks {score}")
        if not all(stage.keys() >= {score, "epoch"} for stage in self.stages.values()):
            raise ValueError(f"a stage lacks {score} or epoch")
        if self.best_stage not in self.stages:
            raise ValueError(f"its best_stage {format_value(self.best_stage)} is not one of its stages")


class _BestOfStage(msgspec.Struct):
    epoch: Count
    val_accuracy: float


class _SummaryWithStages(_Summary, kw_only=True):
    """The first version wrote no stages; the next wrote only the best accuracy of each."""

    best_stage: str
    best_epoch: Count
    stages: dict[str, _BestOfStage | float]

    def __post_init__(self) -> None:
        if self.best_stage not in self.stages:
            raise ValueError(f"its best_stage {format_value(self.best_stage)} is not one of its stages")


class _ImageFacts(msgspec.Struct):
    sizes: dict[str, tuple[float, float, float]]
    modes: dict[str, Count]


class _ReportedFacts(msgspec.Struct):
    """What else a report shows; earlier versions wrote less of it."""

    arch: str = ""
    device: str = ""
    precision: str = ""
    threads: Count = 0
    refit_on_val: bool = False
    val_origin: str = ""
    train_images: Count = 0
    val_images_seen: Count | None = None
    test_images_seen: Count | None = None
    images_by_class: dict[str, dict[str, Count]] = {}
    image_facts: _ImageFacts | None = None
    warnings: list[str] = []
    dropped_images: list[Any] = []
    val_intervals: dict[str, tuple[float, float]] = {}
    test_intervals: dict[str, tuple[float, float]] | None = None


def write_summary(folder: Path, summary: dict[str, Any]) -> Path:
    """Write summary.json."""
    path = folder / SUMMARY_FILE
    write_text(path, json.dumps(summary, indent=2, ensure_ascii=False) + "\n", undecodable="backslashreplace")
    return path


def read_summary(folder: Path) -> dict[str, Any] | None:
    """Return the results of a finished run, or None if the run is not finished.

    Raises:
        ToolkitError: The file is damaged.
    """
    path = folder / SUMMARY_FILE
    try:
        summary: dict[str, Any] = convert(parse_json(path.read_text(encoding="utf-8")), JsonObject)
        kind = _SummaryWithStages if "stages" in summary else _Summary
        convert(summary, _TaskSummary if "task" in summary else kind)
        convert(summary, _ReportedFacts)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise ToolkitError(f"{path} is damaged: {error}. Remove it, and {named('resume')} writes it again.") from error
    return summary
