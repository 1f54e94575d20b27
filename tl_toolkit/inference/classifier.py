"""A trained model with its class names and its preprocessing, ready to predict."""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, overload

import torch
from torch import nn

from tl_toolkit.config.choices import Task
from tl_toolkit.data.images import ImageLike, is_path, open_image
from tl_toolkit.data.transforms import EvalTransform, Normalize
from tl_toolkit.errors import UsageError
from tl_toolkit.input_spec import InputSpec
from tl_toolkit.io.reader_threads import readers
from tl_toolkit.metrics.logits import predicted_labels, probabilities, ranked_classes
from tl_toolkit.model_file import ModelMetadata
from tl_toolkit.text import named
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
        labels: Of a model of several labels an image, those whose probability is at least their threshold, best first;
            perhaps none, and perhaps more than `top_k`. None for other models.
    """

    path: str
    top_k: tuple[ClassProbability, ...]
    labels: tuple[ClassProbability, ...] | None = None

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
        if self.labels is not None:
            return {"path": self.path, "labels": [asdict(each) for each in self.labels], "top_k": top}
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
        head_modules: Names of the modules of its head; empty where they are not known.
    """

    def __init__(
        self, module: nn.Module, metadata: ModelMetadata, compute: DeviceSetup, head_modules: tuple[str, ...] = ()
    ) -> None:
        self.module = compute.place(module).eval()
        self.metadata = metadata
        self.compute = compute
        self.head_modules = head_modules
        self._to_pixels = EvalTransform(metadata.input_spec)
        self.normalize = Normalize(metadata.input_spec).to(compute.device)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Class names in the order of the logits."""
        return self.metadata.class_names

    @property
    def task(self) -> Task:
        """Whether an image has one class, several labels or shares of classes."""
        return self.metadata.task

    @property
    def thresholds(self) -> torch.Tensor | None:
        """Probability from which an image is given each label (classes), float32 on the device; None for 0.5."""
        chosen = self.metadata.thresholds
        return torch.tensor(chosen, dtype=torch.float32, device=self.compute.device) if chosen else None

    def with_threshold(self, threshold: float) -> "ImageClassifier":
        """Return the same model with one threshold for all labels, in place of those chosen on val.

        Args:
            threshold: Probability from which an image is given a label, between 0 and 1.

        Raises:
            UsageError: The model gives an image one class, or the threshold is not a probability.
        """
        if self.task != "multi-label":
            raise UsageError(
                f"{named('threshold')} is for models that give an image several labels; this one, of {self.task} data, "
                "names the likeliest classes."
            )
        if not 0 <= threshold <= 1:
            raise UsageError(f"{named('threshold')} is a probability from 0 to 1, not {threshold:g}.")
        metadata = dataclasses.replace(self.metadata, thresholds=(threshold,) * len(self.class_names))
        return ImageClassifier(self.module, metadata, self.compute, self.head_modules)

    @property
    def head(self) -> nn.Module | None:
        """The first module of the head, whose inputs are the features of an image; None where it is not known."""
        return self.module.get_submodule(self.head_modules[0]) if self.head_modules else None

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
        """Name the likeliest classes, and of several labels an image those that are there.

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
        shares = probabilities(logits, self.metadata.loss)
        labels = self._labels(logits, shares)
        predictions = []
        for image, (name, indices, row) in enumerate(
            zip(names, best.tolist(), shares.gather(1, best).tolist(), strict=True)
        ):
            top = (ClassProbability(self.class_names[index], share) for index, share in zip(indices, row, strict=True))
            predictions.append(Prediction(name, tuple(top), labels[image]))
        return predictions

    def _labels(self, logits: torch.Tensor, shares: torch.Tensor) -> Sequence[tuple[ClassProbability, ...] | None]:
        """Return the labels that each image is given, best first; None for each if the model has one class an image."""
        if self.task != "multi-label":
            return [None] * len(logits)
        thresholds = self.thresholds
        given = predicted_labels(logits, None if thresholds is None else thresholds.to(logits.device))
        found = []
        for row, mask in zip(shares, given, strict=True):
            indices = mask.nonzero()[:, 0]
            ranked = indices[row[indices].argsort(descending=True, stable=True)]
            names = (self.class_names[index] for index in ranked.tolist())
            found.append(tuple(map(ClassProbability, names, row[ranked].tolist())))
        return found
