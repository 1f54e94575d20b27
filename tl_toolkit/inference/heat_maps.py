"""Heat maps: which parts of an image speak for a class."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn
from torch.nn import functional

from tl_toolkit.data.images import ImageLike, is_path, open_image
from tl_toolkit.data.transforms import EvalTransform
from tl_toolkit.errors import ModelError
from tl_toolkit.inference.map_layers import MapLayer, Score, find_map_layer, map_and_gradient
from tl_toolkit.io.reader_threads import readers
from tl_toolkit.metrics.logits import predicted_classes

if TYPE_CHECKING:
    from tl_toolkit.inference.classifier import ImageClassifier

BATCH = 8
"""Images to explain at a time: more of them are no faster on a CPU and take more memory."""

NOISY_COPIES, NOISE = 16, 0.15
"""Noisy copies of an image, and the noise's standard deviation as a share of the range of its values (Smilkov et al.
2017, section 3)."""

BLUR = 1 / 32
"""Radius of the blur of input gradients, as a share of the image's side: single pixels say nothing to an eye."""

BRIGHTEST = 0.99
"""Input gradients above this quantile are shown alike: a few are far above all others."""

SEED = 0

INFERNO = ("000004", "280b54", "65156e", "9f2a63", "d44842", "f57d15", "fac127", "fcffa4")
WARMTH = np.array([list(bytes.fromhex(colour)) for colour in INFERNO], dtype=np.float32)
"""Colours from cold to warm, of even steps to the eye: matplotlib's inferno (Smith and van der Walt 2015), thinned."""


@dataclass(frozen=True)
class HeatMap:
    """Which parts of an image speak for a class.

    Attributes:
        values: From 0 to 1 (H, W), float32, over the network's input. All are 0 where nothing speaks for the class.
        pixels: The network's input (H, W, C), uint8.
        visible: The share of the image's area that the network sees; a crop hides the rest.
        class_index: The class.
        method: How the map was computed, such as "Grad-CAM of layer4, 7 x 7 places".
    """

    values: NDArray[np.float32]
    pixels: NDArray[np.uint8]
    visible: float
    class_index: int
    method: str

    def overlay(self) -> Image.Image:
        """Return the network's input with the map over it, as an RGB image."""
        return overlay(self.pixels, self.values)


def heat_map(model: "ImageClassifier", image: ImageLike, class_index: int | None = None) -> HeatMap:
    """Return which parts of an image speak for a class; see `heat_maps`.

    Args:
        model: The model.
        image: A path, or an image.
        class_index: The class; by default the likeliest one.
    """
    return heat_maps(model, [image], None if class_index is None else [class_index])[0]


def heat_maps(
    model: "ImageClassifier", images: Sequence[ImageLike], class_indices: Sequence[int] | None = None
) -> list[HeatMap]:
    """Return which parts of images speak for a class, by the gradient of the class's logit.

    Grad-CAM (Selvaraju et al. 2017, arXiv:1610.02391) weighs the channels of the last map that still has places, or of
    the last tokens of a vision transformer, by the mean of their gradients. A network without either gets the gradient
    of its input, averaged over noisy copies of the image (SmoothGrad: Smilkov et al. 2017, arXiv:1706.03825).

    Everything is computed in float32; the model does not change.

    Args:
        model: The model.
        images: Paths or images.
        class_indices: The class of each image; by default its likeliest one.

    Raises:
        ImageError: An image cannot be read.
        ModelError: The network's logits or their gradients are not finite.
    """
    spec = model.input_spec
    transform = EvalTransform(spec)

    def open_one(image: ImageLike) -> Image.Image:
        return open_image(image, spec.channels, min_size=spec.min_decode_size)

    model.module.eval()
    layer: MapLayer | None = None
    found: list[HeatMap] = []
    for start in range(0, len(images), BATCH):
        part = images[start : start + BATCH]
        are_paths = all(is_path(image) for image in part)
        opened = readers().start(open_one, part).results() if are_paths else [open_one(image) for image in part]
        pixels = torch.stack([transform(image) for image in opened])
        inputs = model.normalize(pixels.to(model.compute.device)).float()
        with torch.autocast(inputs.device.type, enabled=False):
            inputs = inputs.contiguous(memory_format=model.compute.memory_format)
            classes = _likeliest(model.module, inputs) if class_indices is None else class_indices[start:][: len(part)]
            if not start:
                layer = find_map_layer(model.module, inputs[:1], _score_of(classes[:1]))
            values = _explain(model.module, inputs, _score_of(classes), layer)
        method = f"Grad-CAM of {layer}" if layer else "SmoothGrad of the input"
        seen = pixels.permute(0, 2, 3, 1).contiguous().numpy()
        for index, image in enumerate(opened):
            found.append(
                HeatMap(values[index], seen[index], transform.visible_share(image), int(classes[index]), method)
            )
    return found


def _likeliest(module: nn.Module, inputs: torch.Tensor) -> list[int]:
    with torch.no_grad():
        chosen: list[int] = predicted_classes(module(inputs)).tolist()
    return chosen


def _explain(module: nn.Module, inputs: torch.Tensor, score: Score, layer: MapLayer | None) -> NDArray[np.float32]:
    """Return the maps (N, H, W), from 0 to 1.

    Raises:
        ModelError: The gradients are not finite.
    """
    if layer:
        maps, gradients = map_and_gradient(module, inputs, score, layer)
        weights = gradients.mean(dim=(2, 3), keepdim=True)
        warm = (weights * maps).sum(dim=1).relu()
    else:
        warm = _smooth_gradients(module, inputs, score)
    if not bool(torch.isfinite(warm).all()):
        raise ModelError("The network's logits or their gradients are not finite, so nothing can be said of them.")
    spread = functional.interpolate(warm[:, None], size=inputs.shape[2:], mode="bilinear", align_corners=False)[:, 0]
    strongest = spread.flatten(1).amax(dim=1)[:, None, None]
    values: NDArray[np.float32] = torch.where(strongest > 0, spread / strongest, 0.0).cpu().numpy()
    return values


def _score_of(classes: Sequence[int]) -> Score:
    """Return a function that takes the logit of each image's class; a single logit speaks for the second class."""

    def score(logits: torch.Tensor) -> torch.Tensor:
        chosen = torch.tensor(classes, device=logits.device)
        if logits.shape[1] == 1:
            return torch.where(chosen == 1, logits[:, 0], -logits[:, 0])
        return logits.gather(1, chosen[:, None])[:, 0]

    return score


def _smooth_gradients(module: nn.Module, inputs: torch.Tensor, score: Score) -> torch.Tensor:
    """Return how much the score depends on each pixel (N, H, W)."""
    generator = torch.Generator().manual_seed(SEED)
    span = inputs.flatten(1).amax(dim=1) - inputs.flatten(1).amin(dim=1)
    total = torch.zeros_like(inputs[:, 0])
    for _ in range(NOISY_COPIES):
        noise = torch.randn(inputs.shape[1:], generator=generator).to(inputs.device)
        noisy = (inputs + NOISE * span[:, None, None, None] * noise).requires_grad_()
        with torch.enable_grad():
            gradient = torch.autograd.grad(score(module(noisy).float()).sum(), noisy)[0]
        total += gradient.abs().sum(dim=1)
    radius = max(1, round(BLUR * max(total.shape[1:])))
    for _ in range(2):
        total = functional.avg_pool2d(total[:, None], 2 * radius + 1, 1, radius, count_include_pad=False)[:, 0]
    brightest = total.flatten(1).quantile(BRIGHTEST, dim=1)[:, None, None]
    return total.minimum(brightest)


def overlay(pixels: NDArray[np.uint8], values: NDArray[np.float32]) -> Image.Image:
    """Return an image with a heat map over it: grey where it is cold, colours where it is warm.

    Args:
        pixels: The image (H, W, C), uint8, of 1 or 3 channels.
        values: The map (H, W), from 0 to 1.
    """
    grey = pixels.astype(np.float32).mean(axis=2, keepdims=True)
    shown = 0.5 * pixels.astype(np.float32) + 0.5 * grey
    places = np.linspace(0, 1, len(WARMTH))
    colours = np.stack([np.interp(values, places, WARMTH[:, channel]) for channel in range(3)], axis=2)
    share = 0.65 * np.sqrt(values)[:, :, None]
    mixed = (1 - share) * shown + share * colours
    return Image.fromarray(mixed.round().clip(0, 255).astype(np.uint8))
