"""What /openapi.json says of the addresses, and what /metadata says of the model."""

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from tl_toolkit.inference.predictor import Predictor
from tl_toolkit.serving.limits import Limits
from tl_toolkit.version import __version__

DESCRIPTION = (
    "Images are sent as the body of a request, or as files of a form (multipart/form-data) with any field names. "
    "They may have any format and size that `tl predict` reads. Answers are JSON; those that refuse a request are "
    '`{"error": "why, and what to do"}`.'
)


class _Answer(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ClassProbability(_Answer):
    """A class and its probability."""

    class_name: str
    probability: float


class Prediction(_Answer):
    """What the model says of an image, as `tl predict --format json` writes it."""

    path: str = Field(description="The name of the file, or `image` of a body.")
    class_name: str | None = Field(None, description="The likeliest class.")
    probability: float | None = Field(None, description="Its probability.")
    labels: list[ClassProbability] | None = Field(
        None, description="Of a model of several labels an image, those that it is given, best first."
    )
    abstained: bool | None = Field(None, description="Whether the probability is below `abstain_below`.")
    novelty: float | None = Field(None, description="How unlike the training images it is; 0 is the mean of val.")
    unknown: bool | None = Field(None, description="Whether it may show none of the classes.")
    top_k: list[ClassProbability] | None = Field(None, description="The likeliest classes, best first.")
    error: str | None = Field(None, description="Why the image cannot be read; then nothing else is there.")


class Explanation(_Answer):
    """Which parts of an image speak for a class."""

    path: str
    class_name: str
    method: str = Field(description="How the heat map was computed.")
    visible: float = Field(description="Share of the image's area that the network sees.")
    width: int = Field(description="Of the network's input, in pixels.")
    height: int
    input: str = Field(description="The network's input, a JPEG as a data URI.")
    overlay: str = Field(description="The same with the heat map over it.")


class Health(_Answer):
    """How the server does."""

    status: str = Field(description="`ok`, else what is wrong.")
    seconds: float = Field(description="Since the start.")
    images: int = Field(description="Images predicted since the start.")
    requests: int = Field(description="Requests under way.")
    waiting: int = Field(description="Images that wait for the model.")


class Failure(_Answer):
    """Why a request is refused."""

    error: str


UPLOAD = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {"image": {"type": "array", "items": {"type": "string", "format": "binary"}}},
                }
            },
            "image/*": {"schema": {"type": "string", "format": "binary"}},
        },
    }
}

REFUSALS: dict[int | str, dict[str, Any]] = {
    400: {"model": Failure, "description": "No image, a form that is none, or an option that the model cannot heed."},
    408: {"model": Failure, "description": "The image did not arrive in time."},
    413: {"model": Failure, "description": "The request is too large."},
    503: {"model": Failure, "description": "Too many requests wait; try again after `Retry-After` seconds."},
}

PREDICT: dict[str, Any] = {
    "summary": "Name the likeliest classes of images",
    "description": "The answer has a prediction for each image in their order, or an `error` if it cannot be read.",
    "openapi_extra": UPLOAD,
    "responses": {
        **REFUSALS,
        200: {"model": list[Prediction], "description": "At least one image could be read."},
        422: {"model": list[Prediction], "description": "No image could be read."},
    },
}
EXPLAIN: dict[str, Any] = {
    "summary": "Draw which parts of an image speak for a class",
    "description": "A heat map by the gradient of the class's logit, as `tl predict --explain` draws it.",
    "openapi_extra": UPLOAD,
    "responses": {
        **REFUSALS,
        200: {"model": Explanation, "description": "The heat map."},
        422: {"model": Prediction, "description": "The image cannot be read."},
        501: {"model": Failure, "description": "The kind of model file has no gradients."},
    },
}
HEALTH: dict[str, Any] = {
    "summary": "Say whether the server answers",
    "responses": {
        200: {"model": Health, "description": "It does."},
        503: {"model": Health, "description": "It cannot compute any more: start it again."},
    },
}
METADATA: dict[str, Any] = {
    "summary": "Describe the model",
    "description": "Classes, preprocessing, origin of the weights, figures, versions and the server's limits.",
    "responses": {200: {"description": "The description."}},
}


def describe(name: str, sha256: str, model: Predictor, explains: bool, limits: Limits) -> dict[str, Any]:
    """Return the answer of /metadata.

    The settings of the run are left out, and the folder of its weights: they name folders of the machine that it was
    trained on.

    Args:
        name: Of the run or file.
        sha256: Of the file.
        model: The model.
        explains: Whether there are heat maps.
        limits: Of the server.
    """
    metadata = model.metadata
    return {
        "name": name,
        "sha256": sha256,
        "architecture": metadata.architecture,
        "head": metadata.head,
        "task": metadata.task,
        "class_names": list(metadata.class_names),
        "input_spec": metadata.input_spec.to_dict(),
        "loss": metadata.loss,
        "temperature": metadata.temperature,
        "thresholds": list(metadata.thresholds),
        "marks_unknown": model.marks_unknown,
        "explains": explains,
        "weights": _without_folders(metadata.weights),
        "weights_license": metadata.weights_license,
        "metrics": dict(metadata.metrics),
        "versions": dict(metadata.versions),
        "server": __version__,
        "limits": {
            "upload_bytes": limits.upload_bytes,
            "pixels": limits.pixels,
            "images": limits.images,
            "upload_seconds": limits.upload_seconds,
            "answer_seconds": limits.answer_seconds,
        },
    }


def _without_folders(origin: str) -> str:
    """Return the origin of weights; of a file on the machine of the run only its name."""
    return Path(origin).name if Path(origin).is_absolute() else origin
