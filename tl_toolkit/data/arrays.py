"""Samples from Python objects: map-style datasets, arrays and tensors."""

from collections.abc import Iterator, Sequence
from typing import Any, overload

from tl_toolkit.data.dataset import Samples
from tl_toolkit.errors import DataError

TARGET_ATTRIBUTES = ("targets", "labels", "_labels")
"""Where torchvision's datasets keep their targets, so that no image need be decoded to read them."""


class DatasetImages(Sequence[Any]):
    """The images of a map-style dataset, read one at a time."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> list[Any]: ...
    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return [self[position] for position in range(*index.indices(len(self)))]
        return self.dataset[index][0]

    def __iter__(self) -> Iterator[Any]:
        return (self[index] for index in range(len(self)))


def dataset_samples(dataset: Any) -> tuple[Samples, tuple[str, ...]]:
    """Samples and class names of a map-style dataset of (image, target) pairs.

    Raises:
        DataError: The targets are not the numbers 0 to N-1.
    """
    for attribute in TARGET_ATTRIBUTES:
        if hasattr(dataset, attribute):
            targets = [int(target) for target in getattr(dataset, attribute)]
            break
    else:
        targets = [int(dataset[index][1]) for index in range(len(dataset))]
    images = DatasetImages(dataset)
    return Samples(images, targets), _names(targets, getattr(dataset, "classes", None))


def array_samples(images: Any, targets: Any) -> tuple[Samples, tuple[str, ...]]:
    """Samples and class names of images (N, H, W), (N, H, W, C) or tensors (N, C, H, W), or a list of images.

    Raises:
        DataError: There are not as many images as targets, or the targets are not the numbers 0 to N-1.
    """
    if len(images) != len(targets):
        raise DataError(f"There are {len(images)} images but {len(targets)} targets.")
    numbers = [int(target) for target in targets]
    return Samples(list(images), numbers), _names(numbers, None)


def _names(targets: Sequence[int], classes: Any) -> tuple[str, ...]:
    if not targets:
        raise DataError("The dataset is empty.")
    lowest, highest = min(targets), max(targets)
    count = len(classes) if classes is not None else highest + 1
    if lowest < 0 or highest >= count:
        raise DataError(f"Targets must be the numbers 0 to {count - 1}, but they run from {lowest} to {highest}.")
    return tuple(str(name) for name in classes) if classes is not None else tuple(map(str, range(count)))
