"""The images that a report shows: which ones, and what it says of each."""

import math
import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest

import torch

from tl_toolkit.data.targets import name_target
from tl_toolkit.metrics.confusion import confusion_counts, most_confused
from tl_toolkit.metrics.lists import confident_mistakes, least_certain
from tl_toolkit.metrics.logits import predicted_labels, probabilities
from tl_toolkit.metrics.predictions import Predictions
from tl_toolkit.report.content import MAX_DRAWN, Confusion, ShownImage
from tl_toolkit.report.pictures import Pictures, Place

SHOWN, UNCERTAIN = 24, 12
"""Images in a gallery, and in that of the least certain ones."""

PER_MISTAKE, PER_HIT = 6, 3
"""Images in a cell of the confusion matrix: of a mistake, and of a class that is right."""

MAX_PAIRS = 30
"""The most frequent mistakes that are listed."""

Cell = tuple[int, int]


@dataclass(frozen=True)
class SplitImages:
    """The images of a split, with what the model says of them.

    Attributes:
        split: Name of the split.
        predictions: What the model gives for its images.
        class_names: In the order of the logits.
        temperature: What logits are divided by.
        thresholds: Probability from which an image is given each label; empty for 0.5.
        short_names: How each image is called, without what all names begin with.
    """

    split: str
    predictions: Predictions
    class_names: Sequence[str]
    temperature: float
    thresholds: Sequence[float]
    short_names: Sequence[str]

    @property
    def _label_thresholds(self) -> torch.Tensor | None:
        return torch.tensor(self.thresholds, dtype=torch.float32) if self.thresholds else None

    def mistakes(self) -> list[int]:
        """Return the most confident mistakes."""
        return confident_mistakes(self.predictions, self.temperature, SHOWN, self._label_thresholds)

    def uncertain(self) -> list[int]:
        """Return the images that the model is least certain of."""
        return least_certain(self.predictions, self.temperature, UNCERTAIN)

    def describe(
        self, index: int, pictures: Pictures | None, heat_map: bytes | None = None, note: str = ""
    ) -> ShownImage:
        """Return an image with what is known of it, and its picture if there is one."""
        predictions = self.predictions
        picture = pictures.get(self.split, index) if pictures else None
        target = predictions.targets[index]
        truth = int(target) if target.ndim == 0 else tuple((int(at), float(target[at])) for at in target.nonzero())
        if predictions.task == "multi-label":
            given = predicted_labels(predictions.logits[index][None], self._label_thresholds)[0].nonzero()[:, 0]
            predicted = name_target(tuple((int(at), 1.0) for at in given), self.class_names)
            probability = None
        else:
            best = int(predictions.predicted[index])
            predicted, probability = self.class_names[best], self._probability(index, best)
        name = self.short_names[index]
        return ShownImage(name, name_target(truth, self.class_names), predicted, probability, picture, heat_map, note)

    def _probability(self, index: int, class_index: int) -> float | None:
        logits = self.predictions.logits[index][None] / self.temperature
        share = float(probabilities(logits, self.predictions.loss)[0, class_index])
        return share if math.isfinite(share) else None

    @property
    def is_drawn(self) -> bool:
        """Whether the confusion matrix has few enough classes to be drawn."""
        return len(self.class_names) <= MAX_DRAWN

    def cells(self) -> dict[Cell, list[int]]:
        """Return some images of the cells of the confusion matrix that are shown, the most confident first.

        Mistakes come before the images that are right; of a matrix that is not drawn, only its most frequent mistakes.
        """
        predictions = self.predictions
        pairs = {pair[:2] for pair in most_confused(confusion_counts(predictions), MAX_PAIRS)}
        best = predictions.probabilities(self.temperature).gather(1, predictions.predicted[:, None])[:, 0]
        true, predicted = predictions.true.tolist(), predictions.predicted.tolist()
        found: dict[Cell, list[int]] = defaultdict(list)
        for index in best.nan_to_num(0.0).argsort(descending=True, stable=True).tolist():
            cell = true[index], predicted[index]
            if not (self.is_drawn or cell in pairs):
                continue
            if len(found[cell]) < (PER_HIT if cell[0] == cell[1] else PER_MISTAKE):
                found[cell].append(index)
        return dict(sorted(found.items(), key=lambda item: item[0][0] == item[0][1]))


def confusion_of(images: SplitImages, cells: Mapping[Cell, Sequence[int]], pictures: Pictures) -> Confusion:
    """Return the confusion matrix of a split whose images have one class.

    Args:
        images: The split.
        cells: Some images of each cell.
        pictures: Those that were read.
    """
    counts, names = confusion_counts(images.predictions), images.class_names
    pairs = most_confused(counts, MAX_PAIRS)
    shown = {
        cell: [images.describe(index, pictures) for index in indices if pictures.get(images.split, index)]
        for cell, indices in cells.items()
    }
    return Confusion(
        names if images.is_drawn else (),
        counts if images.is_drawn else {},
        {cell: found for cell, found in shown.items() if found} if images.is_drawn else {},
        [(names[true], names[predicted], count) for true, predicted, count in pairs],
        [shown.get((true, predicted), []) for true, predicted, _ in pairs],
    )


def cell_places(split: str, cells: Mapping[Cell, Sequence[int]]) -> Iterator[Place]:
    """Yield the images of cells in the order in which they are worth a picture: one of each mistake first."""
    for is_right in (False, True):
        group = [indices for (true, predicted), indices in cells.items() if (true == predicted) == is_right]
        for turn in zip_longest(*group):
            yield from ((split, index) for index in turn if index is not None)


def short_names(names: Sequence[str]) -> list[str]:
    """Return names to show: of files, without the folder that all of them are in."""
    if not names or not all(map(os.path.isabs, names)):
        return list(names)
    try:
        common = os.path.commonpath([os.path.dirname(name) for name in names])  # noqa: PTH120  # quicker
    except ValueError:  # On several drives.
        return list(names)
    return [name[len(common) :].lstrip("/\\") for name in names]
