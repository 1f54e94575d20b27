"""What a network loses in eight-bit integers: its figures on the same images, before and after."""

import dataclasses
from dataclasses import dataclass
from typing import Any

import torch

from tl_toolkit.inference.classifier import ImageClassifier
from tl_toolkit.metrics.base import SCORE_OF
from tl_toolkit.metrics.logits import predicted_classes, predicted_labels
from tl_toolkit.metrics.paired_figures import Difference, Estimate, compare_figures
from tl_toolkit.metrics.predictions import Predictions

LARGEST_LOSS = 0.01
"""A larger loss is an error unless the user allows it: a point, of accuracy or mean average precision."""

ROUNDING = 1e-9
"""1 image of 100 is not more than a point, though it may be by the last bit of a number."""


@dataclass(frozen=True)
class Answers:
    """What a network gives for some images, beside the truth.

    Attributes:
        logits: (N, outputs), float32.
        features: What arrives at the head (N, D), float32; None if it is not known how those of training are.
        targets: Class indices (N), or rows (N, classes).
    """

    logits: torch.Tensor
    features: torch.Tensor | None
    targets: torch.Tensor


@dataclass(frozen=True)
class QuantizationLoss:
    """What is lost.

    Attributes:
        figure: Name of what is compared: "accuracy", with several labels an image "mean_average_precision".
        images: Number of images.
        kept: Layers that stayed in fp32.
        before: The figure of the model.
        after: The figure of the network in integers.
        difference: `after` less `before`.
        only_before: Images that the model alone has right.
        only_after: Images that the network in integers alone has right.
        agreement: Share of images whose answer is the same, right or wrong.
        unknown: Share of images that are called unlike those of training, before and after, with the model's own
            threshold; None if this is not known.
        threshold: Novelty above which the network in integers calls as many images unknown as before; None likewise.
    """

    figure: str
    images: int
    kept: int
    before: Estimate
    after: Estimate
    difference: Difference
    only_before: int
    only_after: int
    agreement: float
    unknown: tuple[float, float] | None
    threshold: float | None

    @property
    def is_small(self) -> bool:
        """Whether it is no more than a point."""
        return -self.difference.value <= LARGEST_LOSS + ROUNDING

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        values = dataclasses.asdict(self)
        unknown = values.pop("unknown")
        values["fp32_layers"], threshold = values.pop("kept"), values.pop("threshold")
        if unknown is None:
            return values
        return values | {"unknown": {"before": unknown[0], "after": unknown[1], "new_threshold": threshold}}


def compare_answers(model: ImageClassifier, before: Answers, after: Answers, kept: int) -> QuantizationLoss:
    """Compare what a model says of images with what its network says in integers.

    Shares of images that are right have Wilson's interval, McNemar's test and Tango's interval of the difference; mean
    average precision has those of the bootstrap. See `compare_figures`.

    Args:
        model: Its task, its thresholds, and what it calls unknown.
        before: Of the model.
        after: Of the network in integers, on the same images.
        kept: Layers that stayed in fp32.
    """
    figure = SCORE_OF[model.task]
    both = [_predictions(model, answers) for answers in (before, after)]
    first, second = compare_figures(both, [figure], [model.thresholds] * 2)
    return QuantizationLoss(
        figure,
        len(before.logits),
        kept,
        first.figures[figure],
        second.figures[figure],
        second.differences[figure],
        second.only_first,
        second.only_this,
        _agreement(model, before.logits, after.logits),
        *_unknown(model, before, after),
    )


def _predictions(model: ImageClassifier, answers: Answers) -> Predictions:
    names = [str(index) for index in range(len(answers.logits))]
    return Predictions(answers.logits, answers.targets, names, loss=model.metadata.loss, task=model.task)


def _agreement(model: ImageClassifier, before: torch.Tensor, after: torch.Tensor) -> float:
    """Return the share of images with the same class, or exactly the same labels."""
    if model.task == "multi-label":
        one, other = (predicted_labels(logits, model.thresholds) for logits in (before, after))
        return float((one == other).all(dim=1).double().mean())
    return float((predicted_classes(before) == predicted_classes(after)).double().mean())


def _unknown(
    model: ImageClassifier, before: Answers, after: Answers
) -> tuple[tuple[float, float], float] | tuple[None, None]:
    """Return the shares of images that are unlike those of training, and the threshold with which they are the same."""
    detector = model.novelty
    if detector is None or before.features is None or after.features is None:
        return None, None
    novelty = [detector.novelty(each.features, each.logits).double() for each in (before, after)]  # type: ignore[arg-type]
    flagged = [int((each > detector.threshold).sum()) for each in novelty]
    images = len(novelty[1])
    highest = novelty[1].sort(descending=True).values
    # As many images as before lie above it, unless some are equal.
    threshold = float(highest[min(flagged[0], images - 1)])
    return (flagged[0] / images, flagged[1] / images), threshold
