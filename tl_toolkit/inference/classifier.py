"""A trained model with its class names and its preprocessing, ready to predict."""

import contextlib
import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Self, overload

import torch
from torch import nn

from tl_toolkit.data.images import ImageLike, is_path, open_image
from tl_toolkit.data.transforms import EvalTransform, Normalize
from tl_toolkit.errors import UnknownNameError
from tl_toolkit.inference.heat_maps import HeatMap, heat_maps
from tl_toolkit.inference.novelty import NoveltyDetector
from tl_toolkit.inference.prediction import Prediction
from tl_toolkit.inference.predictor import BATCH as BATCH
from tl_toolkit.inference.predictor import Answers, Predictor
from tl_toolkit.io.reader_threads import readers
from tl_toolkit.metrics.finite import check_finite
from tl_toolkit.metrics.logits import predicted_labels, probabilities, ranked_classes
from tl_toolkit.model_file import ModelMetadata, NoveltyNote
from tl_toolkit.training.device import DeviceSetup
from tl_toolkit.training.evaluation import recorded_inputs

BATCHES_AHEAD = 2
"""Batches that are decoded beside a GPU. On a CPU decoding and the network take turns with all cores: beside each other
they took a tenth more time (see tests/benchmarks/NOTES.md)."""


class ImageClassifier(Predictor):
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
        self.batches_ahead = 0 if compute.device.type == "cpu" else BATCHES_AHEAD
        self._detector: tuple[NoveltyNote, NoveltyDetector] | None = None
        self._to_pixels = EvalTransform(metadata.input_spec)
        self.normalize = Normalize(metadata.input_spec).to(compute.device)

    @property
    def thresholds(self) -> torch.Tensor | None:
        """Probability from which an image is given each label (classes), float32 on the device; None for 0.5."""
        chosen = self.metadata.thresholds
        return torch.tensor(chosen, dtype=torch.float32, device=self.compute.device) if chosen else None

    def with_metadata(self, **changes: Any) -> Self:
        """Return the same model with other metadata."""
        metadata = dataclasses.replace(self.metadata, **changes)
        return type(self)(self.module, metadata, self.compute, self.head_modules)

    @property
    def head(self) -> nn.Module | None:
        """The first module of the head, whose inputs are the features of an image; None where it is not known."""
        return self.module.get_submodule(self.head_modules[0]) if self.head_modules else None

    @property
    def novelty(self) -> NoveltyDetector | None:
        """Tells images that are unlike those of training; None where the model file says nothing of them.

        Raises:
            ModelFileError: What it says is damaged.
        """
        note = self.metadata.novelty
        if note is None or self.head is None:
            return None
        if self._detector is None or self._detector[0] is not note:
            self._detector = note, NoveltyDetector.of(note)
        return self._detector[1]

    @property
    def marks_unknown(self) -> bool:
        """Whether predictions say if an image is unlike the training images."""
        return self.novelty is not None

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
        return self.outputs(images, with_features=False)[0]

    def outputs(
        self, images: torch.Tensor | Sequence[ImageLike], with_features: bool = True
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Compute the logits of images, and what arrives at the head on the way.

        Args:
            images: See `logits`.
            with_features: Whether to keep what arrives at the head.

        Returns:
            Logits as `logits` gives them, and features (N, D), float32 on the CPU; None where they are not wanted, or
            nothing is known of those of training.

        Raises:
            ImageError: An image cannot be read.
        """
        if not isinstance(images, torch.Tensor):
            parts = [images[start : start + BATCH] for start in range(0, len(images), BATCH)]
            logits, features = zip(*(self.outputs(self._inputs(part), with_features) for part in parts), strict=True)
            known = [rows for rows in features if rows is not None]
            return torch.cat(logits), torch.cat(known) if known else None
        with contextlib.ExitStack() as stack:
            recorded = []
            if with_features and self.novelty and self.head:
                recorded = stack.enter_context(recorded_inputs(self.head))
            stack.enter_context(self.compute.inference())
            batch = images.to(self.compute.device).contiguous(memory_format=self.compute.memory_format)
            computed: torch.Tensor = self.module(batch)
        return computed.float().cpu(), recorded[-1].cpu() if recorded else None

    def _inputs(self, images: Sequence[ImageLike]) -> torch.Tensor:
        """Return the network's input (N, C, H, W); threads read files."""
        if not all(is_path(image) for image in images):
            return torch.stack([self.transform(image) for image in images])
        pixels = readers().start(self.to_pixels, images).results()
        normalized: torch.Tensor = self.normalize(torch.stack(pixels).to(self.compute.device))
        return normalized

    def predict_pixels(
        self, pixels: Sequence[torch.Tensor], names: Sequence[str], top_k: int, abstain_below: float | None
    ) -> list[Prediction]:
        """Return the predictions of images that `to_pixels` has read."""
        images = self.normalize(torch.stack(list(pixels)).to(self.compute.device))
        return self.to_predictions(*self.outputs(images), names, top_k, abstain_below)

    def predict_images(
        self, images: Sequence[ImageLike], names: Sequence[str], top_k: int, abstain_below: float | None
    ) -> list[Prediction]:
        """Return the predictions of images; threads read files."""
        return self.to_predictions(*self.outputs(images), names, top_k, abstain_below)

    @overload
    def explain(self, images: ImageLike, class_name: str | None = None) -> HeatMap: ...
    @overload
    def explain(self, images: list[ImageLike], class_name: str | None = None) -> list[HeatMap]: ...
    def explain(self, images: ImageLike | list[ImageLike], class_name: str | None = None) -> HeatMap | list[HeatMap]:
        """Return which parts of images speak for a class; see `heat_maps`.

        Args:
            images: An image, a path, or a list of them.
            class_name: The class; by default the likeliest one of each image.

        Raises:
            ImageError: An image cannot be read.
            UnknownNameError: The model has no such class.
            ModelError: The network's weights are not finite.
        """
        batch = images if isinstance(images, list) else [images]
        if class_name is not None and class_name not in self.class_names:
            raise UnknownNameError("class", class_name, self.class_names)
        chosen = None if class_name is None else [self.class_names.index(class_name)] * len(batch)
        found = heat_maps(self, batch, chosen)
        return found if isinstance(images, list) else found[0]

    def to_predictions(
        self,
        logits: torch.Tensor,
        features: torch.Tensor | None,
        names: Sequence[str],
        top_k: int,
        abstain_below: float | None = None,
    ) -> list[Prediction]:
        """Return the predictions of images.

        Args:
            logits: See `outputs`.
            features: See `outputs`.
            names: Of the images.
            top_k: Number of classes to name.
            abstain_below: See `predict`.

        Raises:
            TrainingError: Some logits are not finite.
        """
        check_finite(logits.isfinite().all(dim=1).tolist(), names)
        best = ranked_classes(logits, top_k)
        shares = probabilities(logits / self.metadata.temperature, self.metadata.loss)
        labels = self._labels(logits, shares) if self.task == "multi-label" else None
        detector = self.novelty if features is not None else None
        novelty = detector.novelty(features, logits).tolist() if detector and features is not None else None
        threshold = detector.threshold if detector else 0.0
        answers = Answers(best.tolist(), shares.gather(1, best).tolist(), labels, novelty, threshold)
        return self.name_answers(answers, names, abstain_below)

    def _labels(self, logits: torch.Tensor, shares: torch.Tensor) -> list[tuple[list[int], list[float]]]:
        """Return the labels that each image is given, best first, and their probabilities."""
        thresholds = self.thresholds
        given = predicted_labels(logits, None if thresholds is None else thresholds.to(logits.device))
        found = []
        for row, mask in zip(shares, given, strict=True):
            indices = mask.nonzero()[:, 0]
            ranked = indices[row[indices].argsort(descending=True, stable=True)]
            found.append((ranked.tolist(), row[ranked].tolist()))
        return found
