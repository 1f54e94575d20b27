"""The seam of metrics: what a metric is, their registry, and the scores of one pass that computes them all."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, Literal, TypeVar

import torch

from tl_toolkit.config.choices import Loss, Task
from tl_toolkit.metrics.intervals import Interval, mean_interval
from tl_toolkit.metrics.meter import loss_sum
from tl_toolkit.registry import Registry

Value = float | None | tuple[float | None, ...]
"""A number, or one for each class; None where there is nothing to compute it from."""


Thresholds = torch.Tensor | Callable[[torch.Tensor, torch.Tensor], torch.Tensor] | None
"""See `Metric.thresholds`."""

SCORE_OF: Mapping[Task, str] = {
    "multi-class": "accuracy",
    "multi-label": "mean_average_precision",
    "soft": "accuracy",
}
"""The metric that models are chosen by. Mean average precision needs no thresholds, which are chosen after training,
and counts rare labels as much as frequent ones."""


class Metric(ABC):
    """A figure of a model on a split, computed batch by batch.

    The name that a metric is registered by is its key in JSON, and in summary.json behind `val_` or `test_`.

    Args:
        classes: Number of classes.
        device: Device of the batches.

    Attributes:
        label: Heading of its row or column in `tl evaluate`.
        format: "percent" for a share, "count" for a whole number, else "number".
        in_table: Whether `tl evaluate` shows it in the terminal; JSON and CSV have all metrics.
        tasks: The tasks whose targets it takes: class indices (N) of "multi-class" data; of the others rows
            (N, classes), for "multi-label" of 0 and 1, for "soft" of shares.
        thresholds: Of multi-label data, the probability from which an image is given each label (classes), or a rule
            that chooses it from the logits and labels of the whole split; None for 0.5.
        temperature: What logits are divided by before they become probabilities; see `training/calibration.py`.
        loss: The training loss, which determines how logits become probabilities.
    """

    label: ClassVar[str]
    format: ClassVar[Literal["percent", "number", "count"]] = "percent"
    in_table: ClassVar[bool] = True
    tasks: ClassVar[tuple[Task, ...]] = ("multi-class",)
    thresholds: Thresholds = None
    temperature: float = 1.0
    loss: Loss = "cross-entropy"

    def __init__(self, classes: int, device: torch.device) -> None:
        self.classes = classes
        self.device = device

    @classmethod
    def applies(cls, classes: int) -> bool:  # noqa: ARG003  # for subclasses
        """Return whether the metric says anything about so many classes."""
        return True

    @abstractmethod
    def update(self, logits: torch.Tensor, targets: torch.Tensor) -> None:
        """Add a batch without reading anything back from the device.

        Args:
            logits: (N, classes), or (N, 1) where one logit stands for two classes; float32.
            targets: (N), or (N, classes); see `tasks`.
        """

    @abstractmethod
    def compute(self) -> Value:
        """Return the value over all batches, a tuple where each class has its own."""

    def interval(self) -> Interval | None:
        """Return the 95 % confidence interval of a value that is one number (low, high); by default none."""
        return None


SourceMetric = TypeVar("SourceMetric", bound=Metric)


class Derived(Metric, Generic[SourceMetric]):
    """A metric that is computed from another one's batches, which are then kept once.

    Attributes:
        source: The other metric, which need not be registered.
    """

    source: ClassVar[type[Metric]]

    @classmethod
    def source_of(cls, task: Task) -> type[Metric]:  # noqa: ARG003  # for subclasses
        """Return the other metric for the targets of a task."""
        return cls.source

    def update(self, logits: torch.Tensor, targets: torch.Tensor) -> None:
        """Leave the batch to the other metric."""

    def compute(self) -> Value:
        """Return nothing: the value is that of `derive`."""
        return None

    @abstractmethod
    def derive(self, source: SourceMetric) -> Value:
        """Return the value, from the other metric."""

    def derive_interval(self, source: SourceMetric) -> Interval | None:  # noqa: ARG002  # for subclasses
        """Return the 95 % confidence interval of a value that is one number; by default none."""
        return None


METRICS: Registry[type[Metric]] = Registry(
    "metric",
    "tl_toolkit.metrics",
    {
        "accuracy": "tl_toolkit.metrics.accuracy:Accuracy",
        "top5_accuracy": "tl_toolkit.metrics.top5_accuracy:Top5Accuracy",
        "balanced_accuracy": "tl_toolkit.metrics.class_counts:MacroRecall",
        "macro_precision": "tl_toolkit.metrics.class_counts:MacroPrecision",
        "macro_recall": "tl_toolkit.metrics.class_counts:SameAsBalancedAccuracy",
        "mean_average_precision": "tl_toolkit.metrics.average_precision:MeanAveragePrecision",
        "mean_average_precision_error": "tl_toolkit.metrics.average_precision:MeanAveragePrecisionError",
        "micro_f1": "tl_toolkit.metrics.label_counts:MicroF1",
        "macro_f1": "tl_toolkit.metrics.class_counts:MacroF1",
        "weighted_precision": "tl_toolkit.metrics.class_counts:WeightedPrecision",
        "weighted_recall": "tl_toolkit.metrics.class_counts:WeightedRecall",
        "weighted_f1": "tl_toolkit.metrics.class_counts:WeightedF1",
        "roc_auc": "tl_toolkit.metrics.roc_auc:RocAuc",
        "calibration_error": "tl_toolkit.metrics.probability_errors:CalibrationError",
        "brier_score": "tl_toolkit.metrics.probability_errors:BrierScore",
        "class_images": "tl_toolkit.metrics.class_counts:ClassImages",
        "class_precision": "tl_toolkit.metrics.class_counts:ClassPrecision",
        "class_accuracy": "tl_toolkit.metrics.class_accuracy:ClassAccuracy",
        "class_f1": "tl_toolkit.metrics.class_counts:ClassF1",
        "class_roc_auc": "tl_toolkit.metrics.roc_auc:ClassRocAuc",
        "class_average_precision": "tl_toolkit.metrics.roc_auc:ClassAveragePrecision",
        "subset_accuracy": "tl_toolkit.metrics.subset_accuracy:SubsetAccuracy",
        "label_images": "tl_toolkit.metrics.label_counts:LabelImages",
        "average_precision": "tl_toolkit.metrics.average_precision:AveragePrecision",
        "precision": "tl_toolkit.metrics.label_counts:Precision",
        "recall": "tl_toolkit.metrics.label_counts:Recall",
        "f1": "tl_toolkit.metrics.label_counts:F1",
        "threshold": "tl_toolkit.metrics.label_counts:Threshold",
        "kl_divergence": "tl_toolkit.metrics.kl_divergence:KLDivergence",
    },
)


@dataclass(frozen=True)
class Scores:
    """Results of one pass over a split.

    Attributes:
        images: Number of images.
        loss: Mean loss, without label smoothing.
        values: Values of the task's metrics by name; None for a metric that does not apply.
        task: The task of the targets.
        intervals: 95 % confidence intervals (low, high) of the loss and of metrics that are one number, by name; empty
            where they were not asked for.
    """

    images: int
    loss: float
    values: Mapping[str, Value]
    task: Task = "multi-class"
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    @property
    def accuracy(self) -> float:
        """Share of the images that are right: in their likeliest class, or in all of their labels."""
        name = "subset_accuracy" if self.task == "multi-label" else "accuracy"
        return self.values[name]  # type: ignore[return-value]  # not one of each class

    @property
    def score(self) -> float | None:
        """The figure that models are chosen by; its name is `SCORE_OF` the task."""
        return self.values[SCORE_OF[self.task]]  # type: ignore[return-value]  # not one of each class

    def to_dict(self, class_names: Sequence[str]) -> dict[str, Any]:
        """Return loss and metrics by name; the value of each class by its name, without those that are None."""
        return {"loss": self.loss} | {name: _by_class(value, class_names) for name, value in self.values.items()}


def _by_class(value: Value, class_names: Sequence[str]) -> Any:
    if not isinstance(value, tuple):
        return value
    return {name: each for name, each in zip(class_names, value, strict=True) if each is not None}


ImageLosses = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""Takes logits and targets and returns the loss of each image (N)."""


class ScoreMeter:
    """Loss and metrics over the batches of a split.

    Args:
        classes: Number of classes.
        device: Device of the batches.
        metrics: Names of metrics; those of other tasks are left out.
        task: The task of the targets.
        thresholds: See `Metric`.
        temperature: See `Metric`.
        loss: See `Metric`.
        image_losses: The loss of each image; with it, the scores have intervals.
    """

    def __init__(
        self,
        classes: int,
        device: torch.device,
        metrics: Iterable[str] = METRICS,
        task: Task = "multi-class",
        thresholds: Thresholds = None,
        temperature: float = 1.0,
        loss: Loss = "cross-entropy",
        image_losses: ImageLosses | None = None,
    ) -> None:
        self._images = 0
        self._loss = loss_sum(device)
        self._task = task
        self._image_losses, self._losses = image_losses, list[torch.Tensor]()
        kinds = {name: kind for name in metrics if task in (kind := METRICS.get(name)).tasks}
        self._metrics = {name: kind(classes, device) if kind.applies(classes) else None for name, kind in kinds.items()}
        derived = [metric for metric in self._metrics.values() if isinstance(metric, Derived)]
        self._sources = {
            kind: kind(classes, device) for kind in dict.fromkeys(each.source_of(task) for each in derived)
        }
        self._updated = [metric for metric in (*self._metrics.values(), *self._sources.values()) if metric]
        for metric in self._updated:
            metric.thresholds, metric.temperature, metric.loss = thresholds, temperature, loss

    def update(self, loss: torch.Tensor, logits: torch.Tensor, targets: torch.Tensor) -> None:
        """Add a batch: its mean loss, and logits and targets as in `Metric.update`."""
        self._images += len(targets)
        self._loss += loss * len(targets)
        if self._image_losses:
            self._losses.append(self._image_losses(logits, targets))
            if len(self._losses) == 1:  # Logits of 0 are equal probabilities, whatever the target.
                self._losses.insert(0, self._image_losses(torch.zeros_like(logits[:1]), targets[:1]))
        for metric in self._updated:
            metric.update(logits, targets)

    def compute(self) -> Scores:
        """Return the scores over all batches."""
        values = {name: self._value(metric) for name, metric in self._metrics.items()}
        intervals = dict(self._intervals()) if self._image_losses else {}
        return Scores(self._images, float(self._loss) / self._images, values, self._task, intervals)

    def _value(self, metric: Metric | None) -> Value:
        if isinstance(metric, Derived):
            return metric.derive(self._sources[metric.source_of(self._task)])
        return metric.compute() if metric else None

    def _intervals(self) -> Iterator[tuple[str, Interval]]:
        """Yield the name of each figure that has an interval, and the interval."""
        guessed, *losses = self._losses
        yield "loss", mean_interval(torch.cat(losses), float(guessed))
        for name, metric in self._metrics.items():
            if isinstance(metric, Derived):
                interval = metric.derive_interval(self._sources[metric.source_of(self._task)])
            else:
                interval = metric.interval() if metric else None
            if interval:
                yield name, interval
