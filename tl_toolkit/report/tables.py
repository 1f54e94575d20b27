"""The figures of a report: those of the split, and those of each class."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tl_toolkit.config.choices import Task
from tl_toolkit.metrics.base import METRICS, SCORE_OF, Scores
from tl_toolkit.metrics.intervals import wilson
from tl_toolkit.report.content import Figure

MAX_ROWS = 1_000
"""Classes that a table lists: it stays readable, and a file of 10,000 classes would hold nothing else."""

COUNTS = ("class_images", "label_images")
SHARES_OF_IMAGES = ("class_accuracy", "recall")
"""Shares of the images of a class."""

SHARES_OF_ANSWERS = ("class_precision", "precision")
"""Shares of the images that are given a class."""

ALL_IMAGES = ("accuracy", "top5_accuracy", "subset_accuracy")
"""Shares of all images."""

SCORE_NAMES = {"accuracy": "accuracy", "mean_average_precision": "mAP"}


@dataclass(frozen=True)
class SplitMetrics:
    """The figures of a split.

    Attributes:
        images: Number of images.
        values: Loss and metrics by name, each class's own by its name, as in summary.json.
        intervals: 95 % confidence intervals of metrics, by name.
        task: The task of the targets.
    """

    images: int
    values: Mapping[str, Any]
    intervals: Mapping[str, Sequence[float]] = field(default_factory=dict)
    task: Task = "multi-class"

    @classmethod
    def of_scores(cls, scores: Scores, class_names: Sequence[str]) -> "SplitMetrics":
        """Return the figures of scores."""
        return cls(scores.images, scores.to_dict(class_names), scores.intervals, scores.task)

    @classmethod
    def of_summary(cls, summary: Mapping[str, Any], split: str) -> "SplitMetrics | None":
        """Return what summary.json says of a split; None where it says nothing."""
        prefix = f"{split}_"
        values = {name.removeprefix(prefix): value for name, value in summary.items() if name.startswith(prefix)}
        images, intervals = values.pop("images", 0), values.pop("intervals", None)
        task = summary.get("task", "multi-class")
        if task == "multi-class" and "class_accuracy" not in values and split == _split_of_classes(summary):
            values["class_accuracy"] = summary.get("class_accuracy", {})  # Earlier versions wrote it of one split.
        values.pop("images_seen", None)
        if values.get(SCORE_OF[task]) is None:
            return None
        return cls(images, values, intervals or {}, task)

    @property
    def headline(self) -> Figure:
        """The figure that models are chosen by."""
        name = SCORE_OF[self.task]
        return self._figure(name, SCORE_NAMES[name], "percent")

    def figures(self) -> list[Figure]:
        """Return the figures of the split, the headline first."""
        shown = [self.headline]
        for name, value in self.values.items():
            if name in METRICS and name != SCORE_OF[self.task] and not name.endswith("_error") and _is_number(value):
                metric = METRICS.get(name)
                shown.append(self._figure(name, metric.label, metric.format))
        if _is_number(self.values.get("loss")):
            shown.append(self._figure("loss", "loss", "number"))
        return shown

    def _figure(self, name: str, label: str, how: str) -> Figure:
        low, high = self.intervals.get(name) or (None, None)
        value = self.values.get(name)
        if low is None and name in ALL_IMAGES and self.images and value is not None:  # Of an earlier version.
            low, high = wilson(round(value * self.images), self.images)
        return Figure(label, value, low, high, how)


def _split_of_classes(summary: Mapping[str, Any]) -> str:
    return "test" if summary.get("test_accuracy") is not None else "val"


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


@dataclass(frozen=True)
class ClassTable:
    """Figures of each class.

    Attributes:
        columns: Headings; the first is that of the names.
        rows: The name and the figures of each class.
        left_out: Number of classes that are not listed.
    """

    columns: Sequence[str]
    rows: Sequence[tuple[str, Sequence[Figure]]]
    left_out: int = 0


def class_table(
    metrics: SplitMetrics, class_names: Sequence[str], train_images: Mapping[str, int] | None = None
) -> ClassTable | None:
    """Return the figures of each class, or of the worst ones if there are very many.

    Args:
        metrics: Of the split.
        class_names: In the order of the model.
        train_images: How many images of each class the model learned from; empty or None where that is not known.

    Returns:
        None if the split has no figures of single classes.
    """
    names = [name for name, value in metrics.values.items() if isinstance(value, Mapping) and name in METRICS]
    if not names:
        return None
    names.sort(key=lambda name: name not in COUNTS)  # The number of images first.
    columns = ["label" if metrics.task == "multi-label" else "class", *(METRICS.get(name).label for name in names)]
    if train_images:
        columns.append("train images")
    rows = []
    for class_name in class_names:
        figures = [_class_figure(metrics.values, name, class_name) for name in names]
        if train_images:
            figures.append(Figure("train images", train_images.get(class_name), format="count"))
        rows.append((class_name, figures))
    if len(rows) <= MAX_ROWS:
        return ClassTable(columns, rows)
    judged = next((place for place, name in enumerate(names) if name not in COUNTS), 0)
    rows.sort(key=lambda row: _rank(row[1][judged].value))
    return ClassTable(columns, rows[:MAX_ROWS], len(rows) - MAX_ROWS)


def _rank(value: float | None) -> float:
    """Return a key that sorts the worst classes first, and those without a figure last."""
    return float("inf") if value is None else value


def _class_figure(values: Mapping[str, Any], name: str, class_name: str) -> Figure:
    """Return a figure of a class, with its interval if it is a share of images."""
    metric, value = METRICS.get(name), values[name].get(class_name)
    interval: tuple[float | None, float | None] = (None, None)
    if value is not None and (images := _denominator(values, name, class_name)):
        interval = wilson(round(value * images), images)
    return Figure(metric.label, value, *interval, metric.format)


def _denominator(values: Mapping[str, Any], name: str, class_name: str) -> int | None:
    """Return the number of images that a class's figure is a share of; None where it is no share, or not known."""
    counts: Mapping[str, int] = next((values[count] for count in COUNTS if values.get(count)), {})
    images = counts.get(class_name)
    if not images or name in SHARES_OF_IMAGES:
        return round(images) if images and name in SHARES_OF_IMAGES else None
    if name not in SHARES_OF_ANSWERS:
        return None
    recall = next((values[share].get(class_name) for share in SHARES_OF_IMAGES if share in values), None)
    precision = values[name].get(class_name)
    return round(recall * images / precision) if recall and precision else None
