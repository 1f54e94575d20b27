"""A trained model with its class names and its preprocessing, ready to predict."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, overload

import torch
from torch import nn

from tl_toolkit.data.images import ImageLike, is_path, open_image
from tl_toolkit.data.transforms import EvalTransform, Normalize
from tl_toolkit.input_spec import InputSpec
from tl_toolkit.io.reader_threads import readers
from tl_toolkit.metrics.logits import probabilities, ranked_classes
from tl_toolkit.model_file import ModelMetadata
from tl_toolkit.training.device import DeviceSetup

DEFAULT_TOP_K = 5
BATCH = 32
"""Images to decode and run at a time."""


@dataclass(frozen=True, slots=True)
class ClassProbability:
    """A class and its probability."""

    class_name: str
    probability: float


@dataclass(frozen=True, slots=True)
class Prediction:
    """The likeliest classes of one image.

    Attributes:
        path: The image's path, or a name such as "image 0".
        top_k: Classes and probabilities, best first.
    """

    path: str
    top_k: tuple[ClassProbability, ...]

    @property
    def class_name(self) -> str:
        """The likeliest class."""
        return self.top_k[0].class_name

    @property
    def probability(self) -> float:
        """The probability of the likeliest class."""
        return self.top_k[0].probability

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        top = [asdict(each) for each in self.top_k]
        return {"path": self.path, **top[0], "top_k": top}


@dataclass(frozen=True, slots=True)
class FailedPrediction:
    """An image that cannot be read, and why."""

    path: str
    error: str

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return asdict(self)


class ImageClassifier:
    """A fine-tuned network with its class names and its preprocessing.

    Attributes:
        module: The plain torchvision or timm network, in eval mode.
        metadata: The metadata of its model file.
        compute: Its device and precision.
    """

    def __init__(self, module: nn.Module, metadata: ModelMetadata, compute: DeviceSetup) -> None:
        self.module = compute.place(module).eval()
        self.metadata = metadata
        self.compute = compute
        self._to_pixels = EvalTransform(metadata.input_spec)
        self.normalize = Normalize(metadata.input_spec).to(compute.device)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Class names in the order of the logits."""
        return self.metadata.class_names

    @property
    def input_spec(self) -> InputSpec:
        """The pixels that the network expects."""
        return self.metadata.input_spec

    def to_pixels(self, image: ImageLike) -> torch.Tensor:
        """Return the pixels of an image or of a file, uint8 (C, H, W).

        Raises:
            ImageError: The image cannot be read.
        """
        spec = self.input_spec
        return self._to_pixels(open_image(image, spec.channels, min_size=spec.min_decode_size))

    @property
    def transform(self) -> Callable[[ImageLike], torch.Tensor]:
        """The preprocessing: makes the network's input (C, H, W) from an image or its path."""

        def transform(image: ImageLike) -> torch.Tensor:
            pixels = self.to_pixels(image)
            normalized: torch.Tensor = self.normalize(pixels.to(self.compute.device))
            return normalized.cpu()

        return transform

    def logits(self, images: torch.Tensor | Sequence[ImageLike]) -> torch.Tensor:
        """Compute the logits of images.

        Args:
            images: A batch (N, C, H, W) as `transform` makes it, or images and paths.

        Returns:
            Logits (N, classes), or (N, 1) of a model with one logit; float32 on the CPU.

        Raises:
            ImageError: An image cannot be read.
        """
        if not isinstance(images, torch.Tensor):
            parts = [images[start : start + BATCH] for start in range(0, len(images), BATCH)]
            return torch.cat([self.logits(self._inputs(part)) for part in parts])
        with self.compute.inference():
            batch = images.to(self.compute.device).contiguous(memory_format=self.compute.memory_format)
            logits: torch.Tensor = self.module(batch)
        return logits.float().cpu()

    def _inputs(self, images: Sequence[ImageLike]) -> torch.Tensor:
        """Return the network's input (N, C, H, W); threads read files."""
        if not all(is_path(image) for image in images):
            return torch.stack([self.transform(image) for image in images])
        pixels = readers().start(self.to_pixels, images).results()
        normalized: torch.Tensor = self.normalize(torch.stack(pixels).to(self.compute.device))
        return normalized

    @overload
    def predict(self, images: ImageLike, top_k: int = DEFAULT_TOP_K) -> Prediction: ...
    @overload
    def predict(self, images: list[ImageLike], top_k: int = DEFAULT_TOP_K) -> list[Prediction]: ...
    def predict(self, images: ImageLike | list[ImageLike], top_k: int = DEFAULT_TOP_K) -> Prediction | list[Prediction]:
        """Name the likeliest classes.

        Args:
            images: An image, a path, or a list of them.
            top_k: Number of classes to name.

        Raises:
            ImageError: An image cannot be read.
        """
        batch = images if isinstance(images, list) else [images]
        names = [str(image) if is_path(image) else f"image {index}" for index, image in enumerate(batch)]
        predictions = self.to_predictions(self.logits(batch), names, top_k) if batch else []
        return predictions if isinstance(images, list) else predictions[0]

    def to_predictions(self, logits: torch.Tensor, names: Sequence[str], top_k: int) -> list[Prediction]:
        """Return the predictions of images with these logits and names."""
        best = ranked_classes(logits, top_k)
        shares = probabilities(logits, self.metadata.loss).gather(1, best)
        predictions = []
        for name, indices, row in zip(names, best.tolist(), shares.tolist(), strict=True):
            top = (ClassProbability(self.class_names[index], share) for index, share in zip(indices, row, strict=True))
            predictions.append(Prediction(name, tuple(top)))
        return predictions
