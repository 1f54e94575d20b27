"""Checking labels by stored features: those of the probe stage, or of all splits of a dataset."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from tl_toolkit.data.samples import Samples
from tl_toolkit.data.targets import class_indices
from tl_toolkit.errors import DataError, ModelError
from tl_toolkit.features.batches import EvalFeatures, FeatureBatches, Features
from tl_toolkit.stages.build import BuiltStage, find_features
from tl_toolkit.stages.context import RunContext
from tl_toolkit.training.label_check import LabelCheck, check_labels, why_too_costly

SAYS_NOTHING = {
    "multi-label": "an image has any number of labels; a probe judges data with one class an image",
    "soft": "labels are shares of the classes; a probe judges data with one class an image",
}


@dataclass(frozen=True)
class CheckedLabels:
    """The labels of some splits that look wrong.

    Attributes:
        check: What was found; indices are those of the images of all splits, one split after the other.
        splits: The images.
    """

    check: LabelCheck
    splits: Mapping[str, Samples]

    def place(self, index: int) -> tuple[str, int]:
        """Return the split of an image, and its index there."""
        for split, samples in self.splits.items():
            if index < len(samples):
                return split, index
            index -= len(samples)
        raise IndexError(index)


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
    if reason := _why_not(context):
        return reason
    if built.features is None or not isinstance(train, FeatureBatches) or not isinstance(val, EvalFeatures):
        return "the features of the images are not stored"
    if reason := built.features.why_too_large(splits.train, context.classes):
        return reason
    rows = torch.cat([_rows(train.features), _rows(val.features)])
    return _check(context, {"train": splits.train, "val": splits.val}, rows)


def check_all_labels(context: RunContext) -> CheckedLabels | str:
    """Check the labels of all splits by features that are computed for it, or come from the cache.

    Args:
        context: The images, and a network whose head is the only part that trains.

    Returns:
        What was found, or why labels are not checked.

    Raises:
        ModelError: The network has no frozen features.
    """
    if reason := _why_not(context):
        return reason
    extractor = find_features(context, context.network.head_modules)
    if extractor is None:
        raise ModelError(f"{context.network.arch} has no frozen features to check labels by. Choose another network.")
    if reason := extractor.why_too_large(context.splits.train, context.classes):
        return reason
    splits = context.splits.present
    batches = [rows for split, samples in splits.items() for rows, _ in extractor.eval_batches(split, samples)]
    return _check(context, splits, torch.cat([_without_places(rows.float()) for rows in batches]).cpu())


def _why_not(context: RunContext) -> str:
    if context.task != "multi-class":
        return SAYS_NOTHING[context.task]
    no_weights = context.network.weights == "none"
    return "the network has no pretrained weights, so its features say little" if no_weights else ""


def _check(context: RunContext, splits: Mapping[str, Samples], rows: torch.Tensor) -> CheckedLabels | str:
    """Check the labels of splits by the features of their images (N, D)."""
    if reason := why_too_costly(len(rows), rows.shape[1], context.classes):
        return reason
    targets = torch.tensor([target for samples in splits.values() for target in class_indices(samples.targets)])
    try:
        check = check_labels(rows, targets, context.classes, belonging_together(list(splits.values())))
    except DataError as error:
        return str(error)
    return CheckedLabels(check, splits) if check.judged else "each class has a single image"


def _rows(features: Features) -> torch.Tensor:
    """Return the features of all images as they are in prediction (N, D), float32; of places, their mean."""
    return _without_places(features.views[0].take(torch.arange(len(features.targets))).float())


def _without_places(rows: torch.Tensor) -> torch.Tensor:
    """Return features (N, D): the mean over the places of tokens (N, T, D) and of maps (N, D, H, W)."""
    return rows.mean(dim=1) if rows.ndim == 3 else rows.flatten(2).mean(dim=2) if rows.ndim == 4 else rows


def belonging_together(splits: Sequence[Samples]) -> list[str]:
    """Return the group of each image; without groups, copies of an image are one, else nothing."""
    if all(samples.groups for samples in splits):
        return [group for samples in splits for group in samples.groups]
    contents = [content for samples in splits for content in samples.contents or [None] * len(samples)]
    if not any(contents):
        return []
    return [content.hex() if content else f"image {index}" for index, content in enumerate(contents)]
