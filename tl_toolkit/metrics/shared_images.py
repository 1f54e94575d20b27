"""Which images several models were judged on, by content."""

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import torch

from tl_toolkit.metrics.predictions import Predictions

DECIMALS = 4
"""Of the shares of soft labels that must be equal."""

Key = tuple[bytes, Hashable, int]


@dataclass(frozen=True)
class SharedImages:
    """Images that all models were judged on.

    Attributes:
        indices: Of the same images, among those of each model.
        relabelled: Images that all models were judged on, but with different classes; they are left out.
    """

    indices: list[list[int]]
    relabelled: int

    def __len__(self) -> int:
        return len(self.indices[0])


def match_images(predictions: Sequence[Predictions], class_names: Sequence[Sequence[str]]) -> SharedImages:
    """Match images with the same content and the same class, by name; of identical images as many as all models had.

    Args:
        predictions: Of each model.
        class_names: Of each model.
    """
    found = [_keys(each, names) for each, names in zip(predictions, class_names, strict=True)]
    shared = [key for key in found[0] if all(key in other for other in found[1:])]
    contents = [{key[0] for key in keys} for keys in found]
    relabelled = len(set.intersection(*contents) - {key[0] for key in shared})
    return SharedImages([[keys[key] for key in shared] for keys in found], relabelled)


def _keys(predictions: Predictions, class_names: Sequence[str]) -> dict[Key, int]:
    """Return the index of each image by its content and its class, and a number of its own among identical ones."""
    seen: Counter[tuple[bytes, Hashable]] = Counter()
    keys: dict[Key, int] = {}
    for index, (content, label) in enumerate(zip(predictions.contents, _labels(predictions, class_names), strict=True)):
        if content is not None:
            keys[content, label, seen[content, label]] = index
            seen[content, label] += 1
    return keys


def _labels(predictions: Predictions, class_names: Sequence[str]) -> list[Hashable]:
    """Return the class of each image by name, or its labels with their shares."""
    targets = predictions.targets
    if targets.ndim == 1:
        return [class_names[index] for index in targets.tolist()]
    found: list[set[tuple[str, float]]] = [set() for _ in range(len(targets))]
    for image, index in targets.nonzero().tolist():
        found[image].add((class_names[index], round(float(targets[image, index]), DECIMALS)))
    return [frozenset(each) for each in found]


def subset(predictions: Predictions, indices: Sequence[int]) -> Predictions:
    """Return the predictions of some images, without features."""
    rows = torch.tensor(indices, dtype=torch.long)
    return Predictions(
        predictions.logits[rows],
        predictions.targets[rows],
        [predictions.names[index] for index in indices],
        [predictions.contents[index] for index in indices],
        predictions.loss,
        predictions.task,
    )
