"""Checking the labels of train and val by the features of the probe stage, which are stored anyway."""

from dataclasses import dataclass

import torch

from tl_toolkit.data.samples import Samples
from tl_toolkit.data.targets import class_indices
from tl_toolkit.errors import DataError
from tl_toolkit.features.batches import EvalFeatures, FeatureBatches, Features
from tl_toolkit.stages.build import BuiltStage
from tl_toolkit.stages.context import RunContext
from tl_toolkit.training.label_check import LabelCheck, check_labels, why_too_costly

SAYS_NOTHING = {
    "multi-label": "an image has any number of labels; a probe judges data with one class an image",
    "soft": "labels are shares of the classes; a probe judges data with one class an image",
}


@dataclass(frozen=True)
class CheckedLabels:
    """The labels of train and val that look wrong.

    Attributes:
        check: What was found; indices are those of train, then of val.
        train: The images of train.
        val: The images of val.
    """

    check: LabelCheck
    train: Samples
    val: Samples

    def place(self, index: int) -> tuple[str, Samples, int]:
        """Return the split of an image, the images of that split, and its index there."""
        count = len(self.train)
        return ("train", self.train, index) if index < count else ("val", self.val, index - count)


def check_probe_labels(context: RunContext, built: BuiltStage) -> CheckedLabels | str:
    """Check the labels of train and val by the features that the probe was trained on.

    Args:
        context: What the stages of the run share.
        built: The probe; its block is open.

    Returns:
        What was found, or why labels are not checked.
    """
    splits = context.splits
    train, val = built.stage.train, built.stage.val
    if context.task != "multi-class":
        return SAYS_NOTHING[context.task]
    if context.network.weights == "none":
        return "the network has no pretrained weights, so its features say little"
    if built.features is None or not isinstance(train, FeatureBatches) or not isinstance(val, EvalFeatures):
        return "the features of the images are not stored"
    if reason := built.features.why_too_large(splits.train, context.classes):
        return reason
    rows = torch.cat([_rows(train.features), _rows(val.features)])
    if reason := why_too_costly(len(rows), rows.shape[1], context.classes):
        return reason
    targets = torch.tensor([*class_indices(splits.train.targets), *class_indices(splits.val.targets)])
    groups = _belonging_together(splits.train, splits.val)
    try:
        check = check_labels(rows, targets, context.classes, groups)
    except DataError as error:
        return str(error)
    return CheckedLabels(check, splits.train, splits.val) if check.judged else "each class has a single image"


def _rows(features: Features) -> torch.Tensor:
    """Return the features of all images as they are in prediction (N, D), float32; of places, their mean."""
    rows = features.views[0].take(torch.arange(len(features.targets))).float()
    # (N, tokens, D) and (N, D, H, W)
    return rows.mean(dim=1) if rows.ndim == 3 else rows.flatten(2).mean(dim=2) if rows.ndim == 4 else rows


def _belonging_together(train: Samples, val: Samples) -> list[str]:
    """Return the group of each image; without groups, copies of an image are one, else nothing."""
    if train.groups and val.groups:
        return [*train.groups, *val.groups]
    contents = [
        *(train.contents or [None] * len(train)),
        *(val.contents or [None] * len(val)),
    ]
    if not any(contents):
        return []
    return [content.hex() if content else f"image {index}" for index, content in enumerate(contents)]
