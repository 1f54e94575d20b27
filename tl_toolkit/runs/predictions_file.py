"""predictions.safetensors: what the model of a run gives for the images of val and test, beside the truth."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from tl_toolkit.config.choices import Loss, Task
from tl_toolkit.errors import ModelFileError, ToolkitError
from tl_toolkit.io.json_validation import convert
from tl_toolkit.io.safetensors_file import load_checked, save_checked
from tl_toolkit.metrics.predictions import Predictions

PREDICTIONS_FILE = "predictions.safetensors"
FORMAT, FORMAT_VERSION = "tl_toolkit.predictions", "1"

MAX_BYTES = 2**28
"""Larger logits are not kept: 10,000 images of 6,700 classes take this much, and their model a fraction of it."""

PARTS = ("logits", "targets")
MAP = "map"
"""The features in two dimensions, which a run may lack: models whose head is not known, and earlier versions."""


def save_predictions(folder: Path, predictions: Mapping[str, Predictions], class_names: Sequence[str]) -> bool:
    """Write the predictions of each split.

    Args:
        folder: The run folder.
        predictions: Those of each split.
        class_names: In the order of the logits.

    Returns:
        Whether they were small enough to keep.

    Raises:
        ToolkitError: The file cannot be written.
    """
    if sum(each.logits.nbytes for each in predictions.values()) > MAX_BYTES:
        return False
    tensors = {f"{split}.{part}": getattr(each, part) for split, each in predictions.items() for part in PARTS}
    tensors |= {f"{split}.{MAP}": each.map for split, each in predictions.items() if each.map is not None}
    of_any = next(iter(predictions.values()))
    splits = {
        split: {
            "names": list(found.names),
            "contents": [each and each.hex() for each in found.contents],
        }
        for split, found in predictions.items()
    }
    metadata = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "class_names": json.dumps(list(class_names)),
        "loss": of_any.loss,
        "task": of_any.task,
        "splits": json.dumps(splits),
    }
    save_checked(folder / PREDICTIONS_FILE, tensors, metadata)
    return True


def read_predictions(folder: Path) -> dict[str, Predictions] | None:
    """Return the predictions of each split of a run; None if the run kept none.

    Raises:
        ToolkitError: The file is damaged.
    """
    path = folder / PREDICTIONS_FILE
    if not path.is_file():
        return None
    try:
        metadata, tensors = load_checked(path)
        if (metadata.get("format"), metadata.get("format_version")) != (FORMAT, FORMAT_VERSION):
            raise ValueError(f"expected {FORMAT} version {FORMAT_VERSION}")
        loss, task = convert(metadata["loss"], Loss), convert(metadata["task"], Task)
        splits = convert(json.loads(metadata["splits"]), dict[str, dict[str, list[str | None]]])
        return {split: _of_split(split, noted, tensors, loss, task) for split, noted in splits.items()}
    except (ModelFileError, ValueError, KeyError, TypeError) as error:
        raise ToolkitError(f"{path} is damaged: {error}. Remove it; `tl report` then computes it again.") from error


def _of_split(
    split: str, noted: Mapping[str, list[str | None]], tensors: Mapping[str, torch.Tensor], loss: Loss, task: Task
) -> Predictions:
    logits, targets = (tensors[f"{split}.{part}"] for part in PARTS)
    names = [name or "" for name in noted["names"]]
    contents = [bytes.fromhex(text) if text else None for text in noted["contents"]]
    if not len(logits) == len(targets) == len(names) == len(contents):
        raise ValueError(f"{split} has {len(logits)} logits, {len(targets)} targets and {len(names)} names")
    points = tensors.get(f"{split}.{MAP}")
    if points is not None and tuple(points.shape) != (len(logits), 2):
        raise ValueError(f"{split} has {len(logits)} logits and a map of shape {tuple(points.shape)}")
    return Predictions(logits, targets, names, contents, loss, task, map=points)
