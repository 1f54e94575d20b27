"""Images beside their heat maps, for a picture of what a model looks at."""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from tl_toolkit.inference.classifier import ImageClassifier
from tl_toolkit.inference.heat_maps import HeatMap, heat_maps
from tl_toolkit.inference.prediction import Prediction
from tl_toolkit.report.image_grid import LabelledImage

SHOWN_SIDE = 224
"""Smaller inputs are shown so large: a map of 28 pixels would be hard to see."""

NEGLIGIBLE = 0.01
"""What a crop hides of an image without a word."""

GAP = 1 / 28
"""Space between an image and its map, as a share of its width."""


def explained_images(model: ImageClassifier, predictions: Sequence[Prediction]) -> tuple[list[LabelledImage], str]:
    """Return images beside what speaks for their likeliest class, and how that was found.

    Args:
        model: The model.
        predictions: What it gives for image files; at least one.

    Raises:
        ImageError: An image cannot be read any more.
        ModelError: The network's weights are not finite.
    """
    classes = [model.class_names.index(prediction.class_name) for prediction in predictions]
    found = heat_maps(model, [prediction.path for prediction in predictions], classes)
    images = []
    for prediction, heat_map in zip(predictions, found, strict=True):
        name = Path(prediction.path).name
        images.append(LabelledImage(_beside(heat_map), prediction.class_name, prediction.probability, None, name))
    return images, describe(found)


def describe(found: Sequence[HeatMap]) -> str:
    """Return how maps were computed, and how much of the images they cannot show."""
    hidden = 1 - min(heat_map.visible for heat_map in found)
    if hidden < NEGLIGIBLE:
        return found[0].method
    what = f"up to {100 * hidden:.0f} % of an image" if len(found) > 1 else f"{100 * hidden:.0f} % of the image"
    return f"{found[0].method}; the crop of the input hides {what}"


def _beside(heat_map: HeatMap) -> Image.Image:
    """Return what the network saw, and the same with the map over it, side by side."""
    over = heat_map.overlay()
    pixels = heat_map.pixels if heat_map.pixels.shape[2] == 3 else heat_map.pixels.repeat(3, axis=2)
    scale = max(1.0, SHOWN_SIDE / max(over.size))
    width, height = round(over.width * scale), round(over.height * scale)
    gap = max(1, round(width * GAP))
    both = Image.new("RGB", (2 * width + gap, height), "white")
    for left, image in ((0, Image.fromarray(pixels)), (width + gap, over)):
        both.paste(image.resize((width, height), Image.Resampling.NEAREST), (left, 0))
    return both
