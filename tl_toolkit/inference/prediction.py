"""What a model says of an image."""

import math
from dataclasses import asdict, dataclass
from typing import Any


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
        abstained: Whether the probability of the likeliest class is below what an answer was to have; None if nothing
            was asked for.
        novelty: How unlike the training images it is: over the images of val the mean is 0 and the standard deviation
            1. None where the model does not know.
        unknown: Whether that is more than of nearly all images of val, so that it may show none of the classes.
    """

    path: str
    top_k: tuple[ClassProbability, ...]
    labels: tuple[ClassProbability, ...] | None = None
    abstained: bool | None = None
    novelty: float | None = None
    unknown: bool | None = None

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
        novelty = self.novelty if self.novelty is None or math.isfinite(self.novelty) else None  # JSON has no infinity.
        judged = {"abstained": self.abstained, "novelty": novelty, "unknown": self.unknown}
        known = {name: value for name, value in judged.items() if value is not None}
        return {"path": self.path, **top[0], **known, "top_k": top}


@dataclass(frozen=True, slots=True)
class FailedPrediction:
    """An image that cannot be read, and why."""

    path: str
    error: str

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return asdict(self)
