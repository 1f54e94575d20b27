"""Preprocessing and probabilities as nodes of an ONNX graph, around a network.

Pillow resizes images of eight bits with coefficients in whole numbers, and rounds after each direction. ONNX Runtime
computes `Resize` with antialiasing of uint8 in the same way, so the pixels are Pillow's but for a few that differ by 1;
of float32 a fifth of them would differ. (Pillow 13 resizes the height first if it is reduced far more than the width,
which only the crop "squash" does, and then more of them differ by 1 or 2.) The sizes are computed in float64, as in
`EvalTransform`.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from tl_toolkit.data.preprocessing import STRIP
from tl_toolkit.input_spec import InputSpec
from tl_toolkit.model_file import ModelMetadata

IMAGES = "images"
NORMALIZED = "normalized"
"""Name of the network's input inside such a graph."""

PROBABILITIES = "probabilities"

LUMA = (19595, 38470, 7471)
"""What Pillow multiplies red, green and blue by for mode L, in 65,536ths (ITU-R 601-2)."""

RESIZE: dict[str, dict[str, Any]] = {
    "bilinear": {"mode": "linear"},
    "bicubic": {"mode": "cubic", "cubic_coeff_a": -0.5},
}
"""Pillow's filters: a triangle, and Keys' cubic."""


class _Nodes:
    """Nodes and constants of a graph; values have names."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def add(self, operator: str, *inputs: str | NDArray[Any] | np.generic, out: str = "", **attributes: Any) -> str:
        """Add a node with one output, and return the output's name; arrays among the inputs become constants."""
        name = f"{self.prefix}/{len(self.nodes)}_{operator}"
        names = [value if isinstance(value, str) else self.constant(value) for value in inputs]
        self.nodes.append(helper.make_node(operator, names, [out or name], name, **attributes))
        return out or name

    def constant(self, value: NDArray[Any] | np.generic) -> str:
        """Add a constant, and return its name."""
        name = f"{self.prefix}/constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def cast(self, value: str, to: int) -> str:
        """Convert a value to another type."""
        return self.add("Cast", value, to=to)


def add_preprocessing(model: onnx.ModelProto, metadata: ModelMetadata) -> None:
    """Put resizing, cropping and normalization before a network, and probabilities after it.

    The input becomes `images` (N, H, W, 3), uint8 RGB of any size; where the network takes one channel, (N, H, W, 1)
    are taken too. The outputs are `probabilities` (N, classes) and those of the network.

    Args:
        model: A network with the input `normalized` (N, C, H, W) and the output `logits`; it is changed.
        metadata: Of the model.
    """
    graph, spec = model.graph, metadata.input_spec
    before, after = _Nodes("preprocessing"), _Nodes("probabilities")
    _normalize(before, _crop(before, spec, *_resize(before, spec, _channels_first(before, spec))), spec)
    _to_probabilities(after, metadata)
    nodes = [*before.nodes, *graph.node, *after.nodes]
    del graph.node[:]
    graph.node.extend(nodes)
    graph.initializer.extend([*before.constants, *after.constants])
    batch = graph.input[0].type.tensor_type.shape.dim[0].dim_param
    channels = "channels" if spec.channels == 1 else spec.channels
    images = helper.make_tensor_value_info(IMAGES, TensorProto.UINT8, [batch, "height", "width", channels])
    shares = helper.make_tensor_value_info(PROBABILITIES, TensorProto.FLOAT, [batch, len(metadata.class_names)])
    outputs = [shares, *graph.output]
    del graph.input[:], graph.output[:]
    graph.input.append(images)
    graph.output.extend(outputs)


def _int64(*values: int) -> NDArray[np.int64]:
    return np.array(values, np.int64)


def _float64(*values: float) -> NDArray[np.float64]:
    return np.array(values, np.float64)


def _channels_first(nodes: _Nodes, spec: InputSpec) -> str:
    """Return the images (N, C, H, W), uint8, in the channels of the InputSpec."""
    images = IMAGES
    if spec.channels == 1:
        # Of one channel it makes three that are alike, whose sum is what it was.
        weighted = nodes.add("Mul", nodes.cast(IMAGES, TensorProto.INT32), np.array(LUMA, np.int32))
        summed = nodes.add("ReduceSum", weighted, _int64(3), keepdims=1)
        rounded = nodes.add("Div", nodes.add("Add", summed, np.int32(2**15)), np.int32(2**16))
        images = nodes.cast(rounded, TensorProto.UINT8)
    return nodes.add("Transpose", images, perm=[0, 3, 1, 2])


def _size(nodes: _Nodes, images: str) -> str:
    """Return height and width of images (N, C, H, W)."""
    return nodes.add("Slice", nodes.add("Shape", images), _int64(2), _int64(4))


def _resize(nodes: _Nodes, spec: InputSpec, images: str) -> tuple[str, str]:
    """Return the resized images (N, C, H, W), uint8, and their height and width."""
    wanted = _float64(*spec.resize_to)
    if spec.crop == "center":
        images = _middle_of_strip(nodes, images, spec)
    if spec.crop == "squash":
        size = nodes.constant(_int64(*spec.resize_to))
    else:
        shown = nodes.cast(_size(nodes, images), TensorProto.DOUBLE)
        scales = nodes.add("Div", wanted, shown)
        reduce = "ReduceMax" if spec.crop == "center" else "ReduceMin"
        scaled = nodes.add("Mul", shown, nodes.add(reduce, scales, _int64(0), keepdims=1))
        size = nodes.add("Max", nodes.cast(nodes.add("Round", scaled), TensorProto.INT64), _int64(1))
    if spec.interpolation == "nearest":
        return _nearest(nodes, images, size), size
    count = nodes.add("Slice", nodes.add("Shape", images), _int64(0), _int64(2))
    sizes = nodes.add("Concat", count, size, axis=0)
    attributes: dict[str, Any] = {"coordinate_transformation_mode": "half_pixel", "antialias": 1, "exclude_outside": 1}
    return nodes.add("Resize", images, "", "", sizes, **attributes, **RESIZE[spec.interpolation]), size


def _nearest(nodes: _Nodes, images: str, size: str) -> str:
    """Return images (N, C, H, W) resized by taking the nearest pixel.

    Pillow adds up the step from pixel to pixel in float64, which decides where the middle lies between two of them.
    """
    shown, wanted = (nodes.cast(value, TensorProto.DOUBLE) for value in (_size(nodes, images), size))
    steps = nodes.add("Div", shown, wanted)
    for place, axis in enumerate((2, 3)):
        step, count = (nodes.add("Slice", value, _int64(place), _int64(place + 1)) for value in (steps, size))
        others = nodes.add("Expand", step, nodes.add("Sub", count, _int64(1)))
        each = nodes.add("Concat", nodes.add("Mul", step, _float64(0.5)), others, axis=0)
        # Rounding must not lead out of the image.
        last = nodes.add("Sub", nodes.add("Shape", images, start=axis, end=axis + 1), _int64(1))
        indices = nodes.cast(nodes.add("CumSum", each, np.int64(0)), TensorProto.INT64)
        images = nodes.add("Gather", images, nodes.add("Min", indices, last), axis=axis)
    return images


def _middle_of_strip(nodes: _Nodes, images: str, spec: InputSpec) -> str:
    """Return images without the ends of strips, which the crop leaves out: resized, they would take gigabytes.

    What is a strip is the same as in `EvalTransform`, whose crop lies up to half a pixel beside this one.
    """
    size = _size(nodes, images)
    height, width = spec.resize_to
    turned = nodes.add("Gather", size, _int64(1, 0))  # At most so high by the width, and so wide by the height.
    most = nodes.add("Mul", turned, _int64(math.ceil(STRIP * height / width), math.ceil(STRIP * width / height)))
    left_out = nodes.add("Max", nodes.add("Sub", size, most), _int64(0))
    start = nodes.add("Div", left_out, _int64(2))
    return nodes.add("Slice", images, start, nodes.add("Sub", size, start), _int64(2, 3))


def _crop(nodes: _Nodes, spec: InputSpec, images: str, size: str) -> str:
    """Return the centre of images, in black where they are smaller, as torchvision's `center_crop` does."""
    crop = _int64(spec.height, spec.width)
    if spec.crop == "border" or spec.crop_fraction > 1:
        missing = nodes.add("Max", nodes.add("Sub", crop, size), _int64(0))
        start = nodes.add("Div", missing, _int64(2))
        pads = nodes.add("Concat", start, nodes.add("Sub", missing, start), axis=0)
        images = nodes.add("Pad", images, pads, np.uint8(0), _int64(2, 3), mode="constant")
        size = nodes.add("Add", size, missing)
    half = nodes.add("Div", nodes.cast(nodes.add("Sub", size, crop), TensorProto.DOUBLE), _float64(2))
    start = nodes.cast(nodes.add("Round", half), TensorProto.INT64)
    return nodes.add("Slice", images, start, nodes.add("Add", start, crop), _int64(2, 3))


def _normalize(nodes: _Nodes, pixels: str, spec: InputSpec) -> None:
    """Add the network's input (N, C, H, W), float32."""

    def per_channel(values: Sequence[float]) -> NDArray[np.float32]:
        return np.array(values, np.float32)[:, None, None]

    shares = nodes.add("Div", nodes.cast(pixels, TensorProto.FLOAT), np.float32(255))
    centred = nodes.add("Sub", shares, per_channel(spec.mean))
    scaled = nodes.add("Div", centred, per_channel(spec.std))
    # The crop has this size anyway; so said, programs know it before they run.
    nodes.add("Reshape", scaled, _int64(-1, spec.channels, spec.height, spec.width), out=NORMALIZED)


def _to_probabilities(nodes: _Nodes, metadata: ModelMetadata) -> None:
    """Add the probabilities of the classes (N, classes), as `metrics.logits.probabilities` computes them."""
    logits = nodes.add("Div", "logits", np.float32(metadata.temperature))
    if metadata.one_logit:
        positive = nodes.add("Sigmoid", logits)
        nodes.add("Concat", nodes.add("Sub", np.float32(1), positive), positive, out=PROBABILITIES, axis=1)
    elif metadata.loss == "bce":
        nodes.add("Sigmoid", logits, out=PROBABILITIES)
    else:
        nodes.add("Softmax", logits, out=PROBABILITIES, axis=1)
