"""An ONNX network in eight-bit integers, calibrated on images of val, and what it loses there."""

import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from torch.utils.data import default_collate

from tl_toolkit.data.dataset import eval_images
from tl_toolkit.data.quality.readability import check_splits
from tl_toolkit.data.samples import Samples
from tl_toolkit.errors import ToolkitError, UsageError
from tl_toolkit.events import TaskProgress
from tl_toolkit.exports.base import ExportRequest
from tl_toolkit.exports.int8_loss import Answers, QuantizationLoss, compare_answers
from tl_toolkit.exports.quantizer import Quantizer
from tl_toolkit.inference.classifier import BATCH, ImageClassifier
from tl_toolkit.metrics.paired_figures import Estimate
from tl_toolkit.metrics.resampled import NAMES
from tl_toolkit.text import named, plural

CALIBRATED = 128
"""Images that ranges are taken from: 4 times as many were not clearly better (tests/benchmarks/NOTES.md)."""

MEASURED = 5000
"""Most images that the loss is measured on: they show a difference of half a point."""

KEPT_SHARES = (0.0, 1 / 8, 1 / 4, 1 / 2)
"""Shares of the layers that stay in fp32, the first ones of the network, until it loses little enough."""


def quantize(
    graph: onnx.ModelProto, request: ExportRequest, val: "ValImages"
) -> tuple[onnx.ModelProto, dict[str, Any]]:
    """Quantize a network, and measure on val what that costs.

    First all layers are quantized. If that loses too much, an eighth of the layers stays in fp32, then a quarter, then
    half of them. The model gets a new threshold for unknown images, since its features are others now.

    Args:
        graph: The network, whose outputs are `logits` and perhaps `features`.
        request: The model, whose metadata is changed, and whether it may lose more than a point.
        val: The images.

    Returns:
        The network in integers, and what the note beside the file says of it.

    Raises:
        ToolkitError: It loses too much.
    """
    quantizer = Quantizer(graph, val.calibration())
    before = val.answers(None)
    attempts: list[QuantizationLoss] = []
    for kept in _kept_layers(quantizer.layers):
        quantized = quantizer.quantize(kept)
        loss = compare_answers(request.model, before, val.answers(quantized), kept)
        attempts.append(loss)
        if loss.is_small or request.options.allow_loss:
            _set_threshold(request.model, loss.threshold)
            return quantized, _note(quantizer.layers, val, attempts)
    raise ToolkitError(_refusal(quantizer.layers, attempts))


def _set_threshold(model: ImageClassifier, threshold: float | None) -> None:
    """Give a model another threshold for images that are unlike those of training."""
    if threshold is not None and model.metadata.novelty:
        novelty = dataclasses.replace(model.metadata.novelty, threshold=threshold)
        model.metadata = dataclasses.replace(model.metadata, novelty=novelty)


def _kept_layers(layers: int) -> list[int]:
    """Return how many layers stay in fp32, in the order in which this is tried."""
    return list(dict.fromkeys(math.ceil(share * layers) for share in KEPT_SHARES if share * layers < layers))


class ValImages:
    """The readable images of val, at most `MEASURED` of them, spread evenly.

    Args:
        request: The model, and how its val is opened.

    Raises:
        UsageError: There are none.
    """

    def __init__(self, request: ExportRequest) -> None:
        self.model: ImageClassifier = request.model
        try:
            opened = request.open_val()
        except ToolkitError as error:
            raise UsageError(
                f"{named('dtype', 'int8')} needs the images of val that the model was trained with, to find the ranges "
                f"of the numbers in the network, and to measure what it loses: {error}"
            ) from error
        chosen = _spread(opened, MEASURED)
        readable = check_splits({"val": chosen}, request.callback, self.model.input_spec.min_decode_size)[
            "val"
        ].readable
        if not len(readable):
            raise UsageError(
                f"{named('dtype', 'int8')} needs images of val, and none of the {len(chosen):,} can be read."
            )
        self.samples, self._callback = readable, request.callback

    def calibration(self) -> Iterator[NDArray[np.float32]]:
        """Yield inputs of the network (N, C, H, W) to calibrate with."""
        for inputs, _ in self._batches(_spread(self.samples, CALIBRATED), "calibrating"):
            yield inputs.numpy()

    def answers(self, graph: onnx.ModelProto | None) -> Answers:
        """Return what a network in ONNX says of the images, or with None what the model itself says."""
        session = (
            None
            if graph is None
            else onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
        )
        logits, features, targets = [], [], []
        task = "running the model on val" if session is None else "running int8 on val"
        for inputs, of_batch in self._batches(self.samples, task):
            found = self.model.outputs(inputs) if session is None else _run(session, inputs)
            logits.append(found[0])
            features.extend([] if found[1] is None else [found[1]])
            targets.append(of_batch)
        return Answers(torch.cat(logits), torch.cat(features) if features else None, torch.cat(targets))

    def _batches(self, samples: Samples, task: str) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield inputs (N, C, H, W) and targets, a few images at a time."""
        dataset = eval_images(samples, self.model.input_spec)
        for start in range(0, len(dataset), BATCH):
            pixels, targets = default_collate(dataset.__getitems__(range(start, min(start + BATCH, len(dataset)))))
            yield self.model.normalize(pixels), targets
            self._callback(TaskProgress(task, min(start + BATCH, len(dataset)), len(dataset)))


def _spread(samples: Samples, most: int) -> Samples:
    """Return at most so many samples, spread evenly."""
    if len(samples) <= most:
        return samples
    return samples.subset([index * len(samples) // most for index in range(most)])


def _run(session: onnxruntime.InferenceSession, inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Return logits and features of a network in ONNX; None if it gives no features."""
    outputs = dict(
        zip(
            (output.name for output in session.get_outputs()),
            map(torch.from_numpy, session.run(None, {session.get_inputs()[0].name: inputs.numpy()})),
            strict=True,
        )
    )
    return outputs["logits"], outputs.get("features")


def _note(layers: int, val: ValImages, attempts: Sequence[QuantizationLoss]) -> dict[str, Any]:
    """Return what the note beside the file says: plain values."""
    note = val.model.metadata.split_note
    return {
        "quantization": {
            "method": "static, QDQ: int8 weights with a scale for each output channel, uint8 between layers",
            "calibration_images": min(len(val.samples), CALIBRATED),
            "layers": layers,
            "learned_from_val": None if note is None else "val" in note.learned,
            **attempts[-1].to_dict(),
            "attempts": [{"fp32_layers": each.kept, "after": each.after.value} for each in attempts],
        }
    }


def _refusal(layers: int, attempts: Sequence[QuantizationLoss]) -> str:
    """Return why nothing is written, and what can be done."""
    first, best = attempts[0], attempts[-1]
    figure = NAMES[first.figure]
    images = f"{plural(first.images, 'image')} of val"
    lost = f"{-100 * first.difference.value:.1f} points of {figure} on {images}, from {_shown(first.before)} to"
    others = f"With its first {best.kept} of {layers} layers in fp32 it has {_shown(best.after)}. "
    return (
        f"In eight-bit integers the network loses {lost} {_shown(first.after)}; more than 1 point is too much. "
        f"{others if len(attempts) > 1 else ''}To keep the file all the same: {named('allow_loss', True)}. "
        f"{named('dtype', 'fp16')} halves the size of fp32, and loses next to nothing."
    )


def _shown(estimate: Estimate) -> str:
    """Return a share with its interval, such as "95.4 % (91 to 98 %)"."""
    return f"{100 * estimate.value:.1f} % ({100 * estimate.low:.0f} to {100 * estimate.high:.0f} %)"
