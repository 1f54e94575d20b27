"""Samples from Python objects: map-style datasets, arrays and tensors."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from tl_toolkit.config.choices import Task
from tl_toolkit.data.image_sets import DatasetImages, ImageSet, listed_images
from tl_toolkit.data.pixels import ARRAYS, problem_with_shape, problem_with_values
from tl_toolkit.data.samples import Samples
from tl_toolkit.data.sources.base import Source, SourceOptions
from tl_toolkit.data.sources.label_rows import label_rows, one_hot_classes
from tl_toolkit.data.targets import Rows
from tl_toolkit.errors import DataError

TARGET_ATTRIBUTES = ("targets", "labels", "_labels", "_samples")
"""Where torchvision's datasets have their targets, so that no image is decoded to read them."""


def open_arrays(spec: object, options: SourceOptions) -> Source | None:
    """Open a pair of images and targets: class indices, see `array_samples`, or labels, see `label_rows`."""
    if not (isinstance(spec, tuple) and len(spec) == 2):
        return None
    images, targets = spec
    if labels := label_rows(targets, options.task, None):
        return _labelled("arrays", _listed(images, len(labels[0])), *labels)
    samples, class_names = array_samples(images, targets)
    return Source("arrays", {"train": samples}, class_names)


def open_dataset(spec: object, options: SourceOptions) -> Source | None:
    """Open a map-style dataset, named after its class; its targets as in `open_arrays`."""
    if not (hasattr(spec, "__getitem__") and hasattr(spec, "__len__")):
        return None
    name, classes = type(spec).__name__.lower(), getattr(spec, "classes", None)
    targets = _dataset_targets(spec)
    if labels := label_rows(targets, options.task, classes):
        return _labelled(name, DatasetImages(spec, False), *labels)
    return Source(name, {"train": Samples(DatasetImages(spec, False), targets)}, _names(targets, classes))


def _labelled(name: str, images: ImageSet, rows: Rows, class_names: tuple[str, ...], task: Task) -> Source:
    if task == "multi-class":
        return Source(name, {"train": Samples(images, one_hot_classes(rows))}, class_names)
    return Source(name, {"train": Samples(images, rows)}, class_names, task=task)


def dataset_samples(dataset: Any, deterministic: bool = False) -> tuple[Samples, tuple[str, ...]]:
    """Return the samples and class names of a map-style dataset of (image, target) pairs.

    Args:
        dataset: Gives (image, target) for the indices from 0 on.
        deterministic: Whether it gives the same image each time.

    Raises:
        DataError: The targets are not the numbers 0 to N-1.
    """
    targets = _dataset_targets(dataset)
    return Samples(DatasetImages(dataset, deterministic), targets), _names(targets, getattr(dataset, "classes", None))


def _dataset_targets(dataset: Any) -> Any:
    """Return the targets of a dataset, of its list or of its items: class indices, or labels for `label_rows`."""
    known = _known_targets(dataset)
    if known is not None:
        return known
    try:
        targets = [dataset[index][1] for index in range(len(dataset))]
        return targets if targets and _holds_labels(targets[0]) else [int(target) for target in targets]
    except Exception as error:  # The user's own code, which may fail in any way.
        raise DataError(
            f"{type(dataset).__name__} must give (image, target) pairs for the indices 0 to {len(dataset) - 1}, "
            f"with whole numbers as targets ({type(error).__name__}: {error})."
        ) from error


def _holds_labels(target: Any) -> bool:
    """Return whether a target is several numbers or names."""
    if isinstance(target, np.ndarray | torch.Tensor):
        return target.ndim == 1 and len(target) > 1
    return isinstance(target, list | set | frozenset)


def _known_targets(dataset: Any) -> Any:
    """Return the targets that a dataset has in a list; None if its items may have others."""
    if getattr(dataset, "target_transform", None) is not None:
        return None
    for attribute in TARGET_ATTRIBUTES:
        found = getattr(dataset, attribute, None)
        if found is None or len(found) != len(dataset):
            continue
        if len(found) and attribute != "_samples" and _holds_labels(found[0]):
            return found
        if attribute == "_samples":
            found = [target for _, target in found]
        values = found.tolist() if hasattr(found, "tolist") else list(found)
        if all(isinstance(value, int) for value in values):
            return values
    return None


def array_samples(images: Any, targets: Any) -> tuple[Samples, tuple[str, ...]]:
    """Return the samples and class names of arrays (N, H, W) or (N, H, W, C), tensors (N, C, H, W) or lists of images.

    Raises:
        DataError: The numbers of images and targets differ, the targets are not the numbers 0 to N-1, or an array's
            shape, type or values are not those of images.
    """
    try:
        numbers = [int(target) for target in targets]
    except (TypeError, ValueError) as error:
        raise DataError(f"Data as a pair must be (images, targets), with whole numbers as targets: {error}.") from error
    return Samples(_listed(images, len(numbers)), numbers), _names(numbers, None)


def _listed(images: Any, targets: int) -> ImageSet:
    """Return images of an array, a tensor or a list, of which there must be as many as targets."""
    if len(images) != targets:
        raise DataError(f"There are {len(images)} images but {targets} targets.")
    if len(images) and (isinstance(images, torch.Tensor) or _has_numbers(images)):
        _check_array(images)
    return listed_images(list(images))


def _has_numbers(images: Any) -> bool:
    """Return whether this is an array of pixels, rather than one of PIL images or paths."""
    return isinstance(images, np.ndarray) and images.dtype.kind in "biufc"


def _check_array(images: np.ndarray | torch.Tensor) -> None:
    """Check shape, type and range of an array, before each of its images fails."""
    found = f"The images are {'a tensor' if isinstance(images, torch.Tensor) else 'an array'} of shape"
    shape, depth = tuple(images.shape), images.ndim - 1
    problem = problem_with_shape(images[0]) if depth in (2, 3) else f"an image has 2 or 3 dimensions, not {depth}"
    if problem:
        raise DataError(f"{found} {shape}: {problem}. {ARRAYS}")
    if problem := problem_with_values(images):
        raise DataError(f"The images cannot be read: {problem}. {ARRAYS}")


def _names(targets: Sequence[int], classes: Any) -> tuple[str, ...]:
    if not targets:
        raise DataError("The dataset is empty.")
    lowest, highest = min(targets), max(targets)
    count = len(classes) if classes is not None else highest + 1
    if lowest < 0 or highest >= count:
        raise DataError(f"Targets must be the numbers 0 to {count - 1}, but they run from {lowest} to {highest}.")
    return tuple(str(name) for name in classes) if classes is not None else tuple(map(str, range(count)))
