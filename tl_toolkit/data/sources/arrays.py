"""Samples from Python objects: map-style datasets, arrays and tensors."""

from collections.abc import Iterator, Sequence
from typing import Any, overload

import numpy as np
import torch

from tl_toolkit.data.images import ARRAYS, fingerprint_image, problem_with_shape, problem_with_values
from tl_toolkit.data.samples import Samples
from tl_toolkit.errors import DataError

TARGET_ATTRIBUTES = ("targets", "labels", "_labels", "_samples")
"""Where torchvision's datasets keep their targets, so that no image need be decoded to read them."""


class DatasetImages(Sequence[Any]):
    """The images of a map-style dataset, read one at a time.

    Attributes:
        contents: What tells the content of each image that was read, by index.
    """

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset
        self.contents: dict[int, bytes | None] = {}

    def __len__(self) -> int:
        return len(self.dataset)

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> list[Any]: ...
    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return [self[position] for position in range(*index.indices(len(self)))]
        image = self.dataset[index][0]
        if index not in self.contents:
            self.contents[index] = fingerprint_image(image)
        return image

    def __iter__(self) -> Iterator[Any]:
        return (self[index] for index in range(len(self)))


def dataset_samples(dataset: Any, fixed: bool = False) -> tuple[Samples, tuple[str, ...]]:
    """Samples and class names of a map-style dataset of (image, target) pairs.

    Args:
        dataset: Gives (image, target) for the indices from 0 on.
        fixed: Whether it gives the same image each time.

    Raises:
        DataError: The targets are not the numbers 0 to N-1.
    """
    targets = _known_targets(dataset)
    if targets is None:
        try:
            targets = [int(dataset[index][1]) for index in range(len(dataset))]
        except Exception as error:  # The user's own code, which may fail in any way.
            raise DataError(
                f"{type(dataset).__name__} must give (image, target) pairs for the indices 0 to {len(dataset) - 1}, "
                f"with whole numbers as targets ({type(error).__name__}: {error})."
            ) from error
    return Samples(DatasetImages(dataset), targets, fixed), _names(targets, getattr(dataset, "classes", None))


def _known_targets(dataset: Any) -> list[int] | None:
    """The targets that a dataset keeps in a list, where these are sure to be those that its items have."""
    if getattr(dataset, "target_transform", None) is not None:
        return None
    for attribute in TARGET_ATTRIBUTES:
        kept = getattr(dataset, attribute, None)
        if kept is None or len(kept) != len(dataset):
            continue
        if attribute == "_samples":
            kept = [target for _, target in kept]
        values = kept.tolist() if hasattr(kept, "tolist") else list(kept)
        if all(isinstance(value, int) for value in values):
            return values
    return None


def array_samples(images: Any, targets: Any) -> tuple[Samples, tuple[str, ...]]:
    """Samples and class names of images (N, H, W), (N, H, W, C) or tensors (N, C, H, W), or a list of images.

    Raises:
        DataError: There are not as many images as targets, the targets are not the numbers 0 to N-1, or an array's
            shape, type or values are no images'.
    """
    try:
        numbers = [int(target) for target in targets]
    except (TypeError, ValueError) as error:
        raise DataError(f"Data as a pair must be (images, targets), with whole numbers as targets: {error}.") from error
    if len(images) != len(numbers):
        raise DataError(f"There are {len(images)} images but {len(numbers)} targets.")
    if len(images) and (isinstance(images, torch.Tensor) or _has_numbers(images)):
        _check_array(images)
    return Samples(list(images), numbers), _names(numbers, None)


def _has_numbers(images: Any) -> bool:
    """Whether it is an array of pixels, rather than one of PIL images or paths."""
    return isinstance(images, np.ndarray) and images.dtype.kind in "biufc"


def _check_array(images: np.ndarray | torch.Tensor) -> None:
    """Refuses an array of which no image, or not every image, could be read: all have one shape, type and range.

    Raises:
        DataError: It is one; the message says how it becomes images.
    """
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
