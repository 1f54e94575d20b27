"""The map of the features of a report by another projection than that of the run, which kept no features."""

import dataclasses
from collections.abc import Sequence

import torch
from PIL import Image

from tl_toolkit.errors import ImageError, UsageError
from tl_toolkit.events import Callback, TaskProgress
from tl_toolkit.inference.classifier import BATCH, ImageClassifier
from tl_toolkit.report.feature_map import Projection, project
from tl_toolkit.report.pictures import FoundImages
from tl_toolkit.runs.report_material import RunMaterial
from tl_toolkit.text import named
from tl_toolkit.training.evaluation import recorded_inputs


def with_projection(material: RunMaterial, projection: Projection, callback: Callback) -> RunMaterial:
    """Return the material with the map of the features by a projection; that of the run is by PCA.

    Args:
        material: What the report is made from.
        projection: See `project`.
        callback: Receives progress.

    Raises:
        UsageError: The images or the head of the model are not known, or umap-learn is not installed.
    """
    if projection == "pca":
        return material
    images, model, predictions = material.images.get(material.split), material.model, material.predictions
    if images is None or model is None or model.head is None or predictions is None:
        raise UsageError(
            f"{named('map', projection)} computes features of the images again, which takes the images of the run and "
            f"a model whose head is known. Say where the images are with {named('data')}, or leave {named('map')} out."
        )
    features = _features(model, images, len(predictions), callback)
    predictions = dataclasses.replace(predictions, map=project(features, projection))
    return dataclasses.replace(material, predictions=predictions, projection=projection)


def _features(model: ImageClassifier, images: FoundImages, count: int, callback: Callback) -> torch.Tensor:
    """Return what arrives at the head (N, D); NaN for an image that is not there."""
    head, spec = model.head, model.input_spec
    assert head is not None  # The caller looked.
    found: dict[int, torch.Tensor] = {}
    for start in range(0, count, BATCH):
        stop = min(start + BATCH, count)
        opened: dict[int, Image.Image] = {}
        for index in range(start, stop):
            try:
                opened[index] = images.open(index, spec.channels, spec.min_decode_size)
            except ImageError:
                continue  # It has no place on the map, as it has no picture.
        if opened:
            found |= dict(zip(opened, _of_batch(model, list(opened.values())), strict=True))
        callback(TaskProgress("map", stop, count))
    width = len(next(iter(found.values()), torch.zeros(2)))
    missing = torch.full((width,), torch.nan)
    return torch.stack([found.get(index, missing) for index in range(count)])


def _of_batch(model: ImageClassifier, images: Sequence[Image.Image]) -> torch.Tensor:
    assert model.head is not None
    with recorded_inputs(model.head) as inputs:
        model.logits(images)
    return inputs[-1].cpu()
