"""What names the classes of images, whatever computes the logits: a network of torch's, or an ONNX file without it."""

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Self, overload

from tl_toolkit.config.choices import Task
from tl_toolkit.data.images import ImageLike, is_path
from tl_toolkit.errors import UsageError
from tl_toolkit.inference.prediction import ClassProbability, Prediction
from tl_toolkit.input_spec import InputSpec
from tl_toolkit.model_file import ModelMetadata
from tl_toolkit.text import named

DEFAULT_TOP_K = 5
BATCH = 32
"""Images to decode and run at a time."""


@dataclasses.dataclass(frozen=True)
class Answers:
    """What a model computes of some images, as plain numbers.

    Attributes:
        best: Indices of the likeliest classes of each image, best first.
        shares: Their probabilities.
        labels: Indices and probabilities of the labels that each image is given, best first; None where an image has
            one class.
        novelty: How unlike the training images each one is; None where the model does not know.
        threshold: Images with a higher novelty are unknown.
    """

    best: Sequence[Sequence[int]]
    shares: Sequence[Sequence[float]]
    labels: Sequence[tuple[Sequence[int], Sequence[float]]] | None = None
    novelty: Sequence[float] | None = None
    threshold: float = 0.0


class Predictor(ABC):
    """A model with its class names and its preprocessing.

    Attributes:
        metadata: Everything about it but its weights.
        batches_ahead: Batches that are worth decoding while it computes.
    """

    metadata: ModelMetadata
    batches_ahead: int = 0

    @property
    def class_names(self) -> tuple[str, ...]:
        """Class names in the order of the logits."""
        return self.metadata.class_names

    @property
    def task(self) -> Task:
        """Whether an image has one class, several labels or shares of classes."""
        return self.metadata.task

    @property
    def input_spec(self) -> InputSpec:
        """The pixels that the network expects."""
        return self.metadata.input_spec

    @property
    @abstractmethod
    def marks_unknown(self) -> bool:
        """Whether predictions say if an image is unlike the training images."""

    @abstractmethod
    def to_pixels(self, image: ImageLike) -> Any:
        """Read an image, and return what `predict_pixels` takes; threads call it.

        Raises:
            ImageError: The image cannot be read.
        """

    @abstractmethod
    def predict_pixels(
        self, pixels: Sequence[Any], names: Sequence[str], top_k: int, abstain_below: float | None
    ) -> list[Prediction]:
        """Return the predictions of images that `to_pixels` has read.

        Args:
            pixels: Of each image; at least one.
            names: Of the images.
            top_k: Number of classes to name.
            abstain_below: See `predict`.
        """

    @abstractmethod
    def predict_images(
        self, images: Sequence[ImageLike], names: Sequence[str], top_k: int, abstain_below: float | None
    ) -> list[Prediction]:
        """Return the predictions of images; the arguments are those of `predict_pixels`.

        Raises:
            ImageError: An image cannot be read.
        """

    @abstractmethod
    def with_metadata(self, **changes: Any) -> Self:
        """Return the same model with other metadata."""

    def with_threshold(self, threshold: float) -> Self:
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
        return self.with_metadata(thresholds=(threshold,) * len(self.class_names))

    def without_calibration(self) -> Self:
        """Return the same model with the probabilities that the network gives, without a temperature."""
        return self.with_metadata(temperature=1.0)

    @overload
    def predict(
        self, images: ImageLike, top_k: int = DEFAULT_TOP_K, abstain_below: float | None = None
    ) -> Prediction: ...
    @overload
    def predict(
        self, images: list[ImageLike], top_k: int = DEFAULT_TOP_K, abstain_below: float | None = None
    ) -> list[Prediction]: ...
    def predict(
        self, images: ImageLike | list[ImageLike], top_k: int = DEFAULT_TOP_K, abstain_below: float | None = None
    ) -> Prediction | list[Prediction]:
        """Name the likeliest classes, and of several labels an image those that are there.

        Args:
            images: An image, a path, or a list of them.
            top_k: Number of classes to name.
            abstain_below: Probability that the likeliest class must have for an answer, between 0 and 1; else the
                prediction says that it `abstained`.

        Raises:
            ImageError: An image cannot be read.
            UsageError: `abstain_below` is not a probability, or the model gives an image several labels.
        """
        self.check_abstaining(abstain_below)
        batch = images if isinstance(images, list) else [images]
        names = [str(image) if is_path(image) else f"image {index}" for index, image in enumerate(batch)]
        predictions = self.predict_images(batch, names, top_k, abstain_below) if batch else []
        return predictions if isinstance(images, list) else predictions[0]

    def check_abstaining(self, below: float | None) -> None:
        """Refuse a probability below which there is to be no answer, if it is none or the model has no use for it.

        Raises:
            UsageError: It is not from 0 to 1, or the model gives an image several labels.
        """
        if below is not None and self.task == "multi-label":
            raise UsageError(
                f"{named('abstain_below')} is for models that name one class of an image; this one gives it the labels "
                f"whose probability is high enough: see {named('threshold')}."
            )
        if below is not None and not 0 <= below <= 1:
            raise UsageError(f"{named('abstain_below')} is a probability from 0 to 1, not {below:g}.")

    def name_answers(self, answers: Answers, names: Sequence[str], abstain_below: float | None) -> list[Prediction]:
        """Return predictions, with the names of classes, of what was computed of images.

        Args:
            answers: Of the images.
            names: Of the images.
            abstain_below: See `predict`.
        """
        predictions = []
        for image, (name, indices, row) in enumerate(zip(names, answers.best, answers.shares, strict=True)):
            labels = None if answers.labels is None else self._named(*answers.labels[image])
            found = Prediction(name, self._named(indices, row), labels)
            if abstain_below is not None:
                found = dataclasses.replace(found, abstained=not row[0] >= abstain_below)
            if answers.novelty is not None:
                novelty = answers.novelty[image]
                found = dataclasses.replace(found, novelty=novelty, unknown=novelty > answers.threshold)
            predictions.append(found)
        return predictions

    def _named(self, indices: Sequence[int], shares: Sequence[float]) -> tuple[ClassProbability, ...]:
        return tuple(
            ClassProbability(self.class_names[index], share) for index, share in zip(indices, shares, strict=True)
        )
