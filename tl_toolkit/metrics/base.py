"""The seam of metrics: what a metric is, their registry, and the scores of one pass that computes them all."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch

from tl_toolkit.metrics.meter import loss_sum
from tl_toolkit.registry import Registry

Value = float | None | tuple[float | None, ...]
"""A number, or one for each class; None where there is nothing to compute it from."""


class Metric(ABC):
    """A figure of a model on a split, computed batch by batch.

    The name that a metric is registered by is its key in JSON, and in summary.json behind `val_` or `test_`.

    Args:
        classes: Number of classes.
        device: Device of the batches.

    Attributes:
        label: Heading of its row or column in `tl evaluate`.
        format: "percent" for a share, else "number".
    """

    label: ClassVar[str]
    format: ClassVar[Literal["percent", "number"]] = "percent"

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
            targets: (N).
        """

    @abstractmethod
    def compute(self) -> Value:
        """Return the value over all batches, a tuple where each class has its own."""


METRICS: Registry[type[Metric]] = Registry(
    "metric",
    "tl_toolkit.metrics",
    {
        "accuracy": "tl_toolkit.metrics.accuracy:Accuracy",
        "top5_accuracy": "tl_toolkit.metrics.top5_accuracy:Top5Accuracy",
        "class_accuracy": "tl_toolkit.metrics.class_accuracy:ClassAccuracy",
    },
)


@dataclass(frozen=True)
class Scores:
    """Results of one pass over a split.

    Attributes:
        images: Number of images.
        loss: Mean loss, without label smoothing.
        values: Values of the metrics by name; None for a metric that does not apply.
    """

    images: int
    loss: float
    values: Mapping[str, Value]

    @property
    def accuracy(self) -> float:
        """Share of the images whose likeliest class is right."""
        return self.values["accuracy"]  # type: ignore[return-value]  # not one of each class

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
        metrics: Names of the metrics.
    """

    def __init__(self, classes: int, device: torch.device, metrics: Iterable[str] = METRICS) -> None:
        self._images = 0
        self._loss = loss_sum(device)
        kinds = {name: METRICS.get(name) for name in metrics}
        self._metrics = {name: kind(classes, device) if kind.applies(classes) else None for name, kind in kinds.items()}

    def update(self, loss: torch.Tensor, logits: torch.Tensor, targets: torch.Tensor) -> None:
        """Add a batch: its mean loss, and logits and targets as in `Metric.update`."""
        self._images += len(targets)
        self._loss += loss * len(targets)
        for metric in self._metrics.values():
            if metric:
                metric.update(logits, targets)

    def compute(self) -> Scores:
        """Return the scores over all batches."""
        values = {name: metric.compute() if metric else None for name, metric in self._metrics.items()}
        return Scores(self._images, float(self._loss) / self._images, values)
