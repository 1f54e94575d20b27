"""The seam of metrics: what a metric is, their registry, and the scores of one pass that computes them all."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, Literal, TypeVar

import torch

from tl_toolkit.config.choices import Task
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
        tasks: The tasks whose targets it takes: class indices (N) of "multi-class" data; of the others rows
            (N, classes), for "multi-label" of 0 and 1, for "soft" of shares.
        thresholds: Of multi-label data, the probability from which an image is given each label (classes), or a rule
            that chooses it from the logits and labels of the whole split; None for 0.5.
        temperature: What logits are divided by before they become probabilities; see `training/calibration.py`.
    """

    label: ClassVar[str]
    format: ClassVar[Literal["percent", "number", "count"]] = "percent"
    tasks: ClassVar[tuple[Task, ...]] = ("multi-class",)
    thresholds: Thresholds = None
    temperature: float = 1.0

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


SourceMetric = TypeVar("SourceMetric", bound=Metric)


class Derived(Metric, Generic[SourceMetric]):
    """A metric that is computed from another one's batches, which are then kept once.

    Attributes:
        source: The other metric, which need not be registered.
    """

    source: ClassVar[type[Metric]]

    def update(self, logits: torch.Tensor, targets: torch.Tensor) -> None:
        """Leave the batch to the other metric."""

    def compute(self) -> Value:
        """Return nothing: the value is that of `derive`."""
        return None

    @abstractmethod
    def derive(self, source: SourceMetric) -> Value:
        """Return the value, from the other metric."""


METRICS: Registry[type[Metric]] = Registry(
    "metric",
    "tl_toolkit.metrics",
    {
        "accuracy": "tl_toolkit.metrics.accuracy:Accuracy",
        "top5_accuracy": "tl_toolkit.metrics.top5_accuracy:Top5Accuracy",
        "class_accuracy": "tl_toolkit.metrics.class_accuracy:ClassAccuracy",
        "mean_average_precision": "tl_toolkit.metrics.average_precision:MeanAveragePrecision",
        "mean_average_precision_error": "tl_toolkit.metrics.average_precision:MeanAveragePrecisionError",
        "micro_f1": "tl_toolkit.metrics.label_counts:MicroF1",
        "macro_f1": "tl_toolkit.metrics.label_counts:MacroF1",
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
        intervals: 95 % confidence intervals (low, high) of metrics that are one number, by name.
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


class ScoreMeter:
    """Loss and metrics over the batches of a split.

    Args:
        classes: Number of classes.
        device: Device of the batches.
        metrics: Names of metrics; those of other tasks are left out.
        task: The task of the targets.
        thresholds: See `Metric`.
        temperature: See `Metric`.
    """

    def __init__(
        self,
        classes: int,
        device: torch.device,
        metrics: Iterable[str] = METRICS,
        task: Task = "multi-class",
        thresholds: Thresholds = None,
        temperature: float = 1.0,
    ) -> None:
        self._images = 0
        self._loss = loss_sum(device)
        self._task = task
        kinds = {name: kind for name in metrics if task in (kind := METRICS.get(name)).tasks}
        self._metrics = {name: kind(classes, device) if kind.applies(classes) else None for name, kind in kinds.items()}
        sources = dict.fromkeys(metric.source for metric in self._metrics.values() if isinstance(metric, Derived))
        self._sources = {kind: kind(classes, device) for kind in sources}
        self._updated = [metric for metric in (*self._metrics.values(), *self._sources.values()) if metric]
        for metric in self._updated:
            metric.thresholds, metric.temperature = thresholds, temperature

    def update(self, loss: torch.Tensor, logits: torch.Tensor, targets: torch.Tensor) -> None:
        """Add a batch: its mean loss, and logits and targets as in `Metric.update`."""
        self._images += len(targets)
        self._loss += loss * len(targets)
        for metric in self._updated:
            metric.update(logits, targets)

    def compute(self) -> Scores:
        """Return the scores over all batches."""
        values = {name: self._value(metric) for name, metric in self._metrics.items()}
        return Scores(self._images, float(self._loss) / self._images, values, self._task)

    def _value(self, metric: Metric | None) -> Value:
        if isinstance(metric, Derived):
            return metric.derive(self._sources[metric.source])
        return metric.compute() if metric else None
