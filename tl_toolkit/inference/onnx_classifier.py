"""An ONNX file that `tl export` wrote, ready to predict: by ONNX Runtime and numpy, without torch."""

import copy
import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from tl_toolkit.config.choices import Precision
from tl_toolkit.data.images import ImageLike, open_image
from tl_toolkit.data.preprocessing import Preprocessing
from tl_toolkit.errors import ModelFileError, UsageError
from tl_toolkit.inference.array_novelty import ArrayNovelty
from tl_toolkit.inference.prediction import Prediction
from tl_toolkit.inference.predictor import BATCH, Answers, Predictor
from tl_toolkit.io.own_files import ONNX_METADATA, ONNX_PREPROCESSING
from tl_toolkit.io.reader_threads import readers
from tl_toolkit.metrics.array_logits import predicted_labels, probabilities, ranked_classes
from tl_toolkit.metrics.finite import check_finite
from tl_toolkit.model_file import ModelMetadata
from tl_toolkit.system.cores import cores_to_use
from tl_toolkit.system.extras import import_extra
from tl_toolkit.text import named

IMAGES, LOGITS, FEATURES = "images", "logits", "features"
"""Names of the input and of outputs."""

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
THREADS_VARIABLE = "OMP_NUM_THREADS"
"""Number of threads that torch computes with; ONNX Runtime does not read it by itself."""

QUIET = 3
"""ONNX Runtime's level of logging that shows errors alone."""

Floats = NDArray[np.float32]


class OnnxClassifier(Predictor):
    """An ONNX file with its class names and its preprocessing.

    Attributes:
        path: The file.
        inside: Whether it resizes, crops and normalizes images itself.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        device: str = "auto",
        precision: Precision = "auto",
        threads: int | None = None,
    ) -> None:
        """Load a file that `tl export --to onnx` wrote.

        Args:
            path: The file.
            device: "auto", "cpu", "cuda" or "cuda:N"; a GPU needs the package onnxruntime-gpu.
            precision: "auto", or "fp32" of a file that computes in it: a file computes as it was exported.
            threads: Threads to compute with; by default all usable cores.

        Raises:
            UsageError: ONNX Runtime is not installed, the device is not there, or the file has no class names.
            ModelFileError: The file is damaged.
        """
        if precision == "bf16":
            raise UsageError(
                f"{path} computes in the type that it was exported with: leave {named('precision', precision)} out."
            )
        self.path = Path(path)
        self._session = _open_session(self.path, device, threads)
        found = self._session.get_modelmeta().custom_metadata_map
        self.metadata = _read_metadata(self.path, found)
        self.inside = found.get(ONNX_PREPROCESSING) == "inside"
        self._outputs = _check_outputs(self.path, self._session)
        self._preprocessing = Preprocessing(self.metadata.input_spec)
        note = self.metadata.novelty
        self._novelty = ArrayNovelty.of(note) if note and FEATURES in self._outputs else None

    @property
    def marks_unknown(self) -> bool:
        """Whether predictions say if an image is unlike the training images."""
        return self._novelty is not None

    def with_metadata(self, **changes: Any) -> Self:
        """Return the same model with other metadata."""
        changed = copy.copy(self)
        changed.metadata = dataclasses.replace(self.metadata, **changes)
        return changed

    def to_pixels(self, image: ImageLike) -> NDArray[np.uint8]:
        """Return the pixels of an image or of a file.

        Returns:
            uint8 (C, H, W) as the network sees them; of a file that resizes itself, the whole image (H, W, 3).

        Raises:
            ImageError: The image cannot be read.
        """
        spec = self.input_spec
        opened = open_image(image, spec.channels, min_size=spec.min_decode_size)
        return np.asarray(opened.convert("RGB")) if self.inside else self._preprocessing.pixels(opened)

    def outputs(self, pixels: Sequence[NDArray[np.uint8]]) -> dict[str, Floats]:
        """Run the file.

        Args:
            pixels: What `to_pixels` returned of each image; at least one.

        Returns:
            `logits` (N, classes) or (N, 1), and perhaps `features` (N, D).

        Raises:
            ModelFileError: The file gives something else than what it says.
        """
        if self.inside:  # Images of several sizes have no common batch.
            parts = [self._run(image[None]) for image in pixels]
            return {name: np.concatenate([part[name] for part in parts]) for name in self._outputs}
        return self._run(self._preprocessing.normalize(np.stack(pixels)))

    def _run(self, images: NDArray[Any]) -> dict[str, Floats]:
        try:
            computed = self._session.run(self._outputs, {IMAGES: images})
        except Exception as error:  # ONNX Runtime raises errors of many types.
            raise ModelFileError(f"{self.path} does not take the images that it describes: {error}") from error
        found = {name: rows.astype(np.float32) for name, rows in zip(self._outputs, computed, strict=True)}
        if (shape := found[LOGITS].shape) != (expected := (len(images), self.metadata.outputs)):
            raise ModelFileError(
                f"{self.path} gives {shape} for {len(images)} images; expected {expected}, as it says."
            )
        return found

    def predict_pixels(
        self, pixels: Sequence[NDArray[np.uint8]], names: Sequence[str], top_k: int, abstain_below: float | None
    ) -> list[Prediction]:
        """Return the predictions of images that `to_pixels` has read.

        Raises:
            TrainingError: Some logits are not finite.
        """
        outputs, metadata = self.outputs(pixels), self.metadata
        logits = outputs[LOGITS]
        check_finite([bool(row.all()) for row in np.isfinite(logits)], names, str(self.path))
        best = ranked_classes(logits, top_k)
        shares = probabilities(logits / np.float32(metadata.temperature), metadata.loss)
        labels = self._labels(shares) if self.task == "multi-label" else None
        novelty = self._novelty.novelty(outputs[FEATURES], logits).tolist() if self._novelty else None
        threshold = self._novelty.threshold if self._novelty else 0.0
        shares_of_best = np.take_along_axis(shares, best, axis=1).tolist()
        answers = Answers(best.tolist(), shares_of_best, labels, novelty, threshold)
        return self.name_answers(answers, names, abstain_below)

    def predict_images(
        self, images: Sequence[ImageLike], names: Sequence[str], top_k: int, abstain_below: float | None
    ) -> list[Prediction]:
        """Return the predictions of images; threads read them."""
        predictions: list[Prediction] = []
        for start in range(0, len(images), BATCH):
            part = slice(start, start + BATCH)
            pixels = readers().start(self.to_pixels, images[part]).results()
            predictions += self.predict_pixels(pixels, names[part], top_k, abstain_below)
        return predictions

    def _labels(self, shares: Floats) -> list[tuple[list[int], list[float]]]:
        """Return the labels that each image is given, best first, and their probabilities."""
        found = []
        for row, given in zip(shares, predicted_labels(shares, self.metadata.thresholds), strict=True):
            indices = np.flatnonzero(given)
            ranked = indices[np.argsort(-row[indices], kind="stable")]
            found.append((ranked.tolist(), row[ranked].tolist()))
        return found


def _open_session(path: Path, device: str, threads: int | None) -> Any:
    """Load a file with ONNX Runtime.

    Raises:
        UsageError: ONNX Runtime is not installed, or the device is not there.
        ModelFileError: The file is damaged.
    """
    runtime = import_extra("onnxruntime", "onnx", f"An ONNX file such as {path.name}")
    options = runtime.SessionOptions()
    options.log_severity_level = QUIET
    options.intra_op_num_threads = threads or _threads_of_environment() or cores_to_use()
    try:
        return runtime.InferenceSession(path, options, providers=_providers(runtime, device))
    except UsageError:
        raise
    except Exception as error:  # ONNX Runtime raises errors of many types.
        reason = str(error).strip().splitlines()[0].rpartition(" : ")[2]
        raise ModelFileError(f"{path} is not a model that tl can load: {reason.rstrip('.')}.") from error


def _threads_of_environment() -> int:
    text = os.environ.get(THREADS_VARIABLE, "")
    return int(text) if text.isdecimal() else 0


def _providers(runtime: Any, device: str) -> list[Any]:
    """Return the execution providers of a device, in ONNX Runtime's terms.

    Raises:
        UsageError: This ONNX Runtime has none for it.
    """
    name, _, index = device.partition(":")
    has_cuda = CUDA in runtime.get_available_providers()
    if name == "cpu" or (name == "auto" and not has_cuda):
        return [CPU]
    if name in ("auto", "cuda") and has_cuda:
        return [(CUDA, {"device_id": index or "0"}), CPU]
    raise UsageError(
        f"ONNX Runtime computes on cpu here, not on {device!r}. A GPU of NVIDIA needs the package onnxruntime-gpu in "
        "place of onnxruntime."
    )


def _read_metadata(path: Path, found: Mapping[str, str]) -> ModelMetadata:
    """Return the metadata that `tl export` wrote.

    Raises:
        UsageError: There are none.
        ModelFileError: They are damaged.
    """
    if ONNX_METADATA not in found:
        raise UsageError(
            f"{path} is an ONNX file without class names and InputSpec, so nothing can be predicted with it. "
            "Give one that tl export --to onnx wrote."
        )
    try:
        return ModelMetadata.from_json(found[ONNX_METADATA])
    except ModelFileError as error:
        raise ModelFileError(f"{path} is not a model that tl can load: {error}.") from error


def _check_outputs(path: Path, session: Any) -> list[str]:
    """Return the names of the outputs to compute.

    Raises:
        ModelFileError: The file has other inputs or outputs than `tl export` writes.
    """
    inputs, outputs = ([each.name for each in side] for side in (session.get_inputs(), session.get_outputs()))
    if inputs != [IMAGES] or LOGITS not in outputs:
        raise ModelFileError(
            f"{path} has the inputs {', '.join(inputs)} and the outputs {', '.join(outputs)}; expected {IMAGES} and "
            f"{LOGITS}, as tl export writes them."
        )
    return [LOGITS, FEATURES] if FEATURES in outputs else [LOGITS]
