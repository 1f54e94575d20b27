"""How often images of each class are taken for another."""

from collections.abc import Mapping

import torch

from tl_toolkit.metrics.predictions import Predictions


def confusion_counts(predictions: Predictions) -> dict[tuple[int, int], int]:
    """Return the number of images of each (true class, predicted class) that has any, in that order.

    Only these cells are kept, so that 10,000 classes need no table of 100 million; of soft labels, the true class is
    the one with the largest share.

    Raises:
        ValueError: An image may have several labels, and so no cell of its own.
    """
    if predictions.task == "multi-label":
        raise ValueError("Images with several labels have no confusion matrix.")
    pairs, counts = torch.unique(
        torch.stack([predictions.true, predictions.predicted], dim=1), dim=0, return_counts=True
    )
    cells = zip(pairs.tolist(), counts.tolist(), strict=True)
    return {(true, predicted): images for (true, predicted), images in cells}


def most_confused(counts: Mapping[tuple[int, int], int], most: int) -> list[tuple[int, int, int]]:
    """Return the most frequent mistakes as (true class, predicted class, images), most frequent first.

    Args:
        counts: What `confusion_counts` returns.
        most: How many to return at most.
    """
    wrong = [(true, predicted, images) for (true, predicted), images in counts.items() if true != predicted]
    return sorted(wrong, key=lambda each: (-each[2], each[0], each[1]))[:most]
