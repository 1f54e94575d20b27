"""Static quantization of an ONNX network by ONNX Runtime's quantizer.

Weights become int8 with a scale for each output channel, and what passes between layers becomes uint8, in the range
that it had for images of the data. The graph keeps its operators, with QuantizeLinear and DequantizeLinear between them
(QDQ), so that every program can run it that knows ONNX; ONNX Runtime joins them into operators on integers.
"""

import contextlib
import copy
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationMethod, QDQQuantizer, QuantType, create_calibrator

from tl_toolkit.errors import ModelError

LAYERS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
"""Operators that multiply, where a network spends its time."""

PASSING = (
    *("AveragePool", "Clip", "Concat", "Flatten", "GlobalAveragePool", "MaxPool"),
    *("Relu", "Reshape", "Split", "Squeeze", "Transpose", "Unsqueeze"),
)
"""Operators between them that can pass integers on."""

ADDING = ("Add",)
"""Operators that do so in convolutional networks. In transformers a few channels of the sum that runs from block to
block are far larger than the others, so that eight bits would leave little of those (tests/benchmarks/NOTES.md)."""

OF_TRANSFORMERS = "LayerNormalization"

ERRORS_ONLY = 3
"""A severity of ONNX Runtime's log."""

WARNINGS = 2
"""That of its log by default."""


class Quantizer:
    """Makes networks of eight-bit integers of one in fp32.

    Args:
        graph: The network, with one input (N, C, H, W), float32. It stays as it is.
        batches: Inputs to calibrate with.

    Raises:
        ModelError: There is nothing to quantize, or ONNX Runtime cannot run the network.
    """

    def __init__(self, graph: onnx.ModelProto, batches: Iterable[NDArray[np.float32]]) -> None:
        self._graph = onnx.shape_inference.infer_shapes(graph)
        self._nodes = [node.name for node in graph.graph.node]
        kinds = {node.op_type for node in graph.graph.node}
        self._operators = [*LAYERS, *PASSING, *(() if OF_TRANSFORMERS in kinds else ADDING)]
        self._layers = [place for place, node in enumerate(graph.graph.node) if node.op_type in LAYERS]
        if not self._layers:
            raise ModelError(
                "The network has no layer that can be quantized: no convolution and no product of matrices."
            )
        with tempfile.TemporaryDirectory(prefix="tl_toolkit-int8-") as folder, _quiet_runtime():
            self._ranges = _calibrate(self._graph, self._operators, batches, Path(folder))

    @property
    def layers(self) -> int:
        """Number of layers that multiply."""
        return len(self._layers)

    def quantize(self, kept: int = 0) -> onnx.ModelProto:
        """Return the network in integers.

        Args:
            kept: Layers that stay in fp32: so many of the first ones, with what lies between them. What these lose,
                all later ones build on.
        """
        excluded = self._nodes[: self._layers[kept]]
        quantizer = QDQQuantizer(
            copy.deepcopy(self._graph),
            per_channel=True,
            reduce_range=False,
            weight_qType=QuantType.QInt8,
            activation_qType=QuantType.QUInt8,
            tensors_range=self._ranges,
            nodes_to_quantize=[],
            nodes_to_exclude=excluded,
            op_types_to_quantize=self._operators,
            extra_options={},
        )
        quantizer.quantize_model()
        quantizer.model.topological_sort()  # New nodes are behind those that use them.
        quantized: onnx.ModelProto = quantizer.model.model
        _tidy(quantized, self._graph)
        return quantized


class _Batches:
    """Inputs as ONNX Runtime's calibrator asks for them."""

    def __init__(self, name: str, batches: Iterable[NDArray[np.float32]]) -> None:
        self._feeds = ({name: batch} for batch in batches)

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        """Return the next batch by the name of the input, None after the last."""
        return next(self._feeds, None)


def _calibrate(
    graph: onnx.ModelProto, operators: Sequence[str], batches: Iterable[NDArray[np.float32]], folder: Path
) -> Any:
    """Return the smallest and largest value of each tensor between operators of these kinds."""
    plain = folder / "network.onnx"
    onnx.save_model(graph, plain)
    calibrator = create_calibrator(
        plain,
        operators,
        augmented_model_path=str(folder / "network with ranges.onnx"),
        calibrate_method=CalibrationMethod.MinMax,
    )
    calibrator.collect_data(_Batches(graph.graph.input[0].name, batches))
    return calibrator.compute_data()


def _tidy(quantized: onnx.ModelProto, graph: onnx.ModelProto) -> None:
    """Keep what the quantizer adds and the file does not need out of it."""
    used = {node.domain for node in quantized.graph.node}
    imports = [each for each in quantized.opset_import if each.domain in used or not each.domain]
    del quantized.opset_import[:], quantized.metadata_props[:], quantized.graph.value_info[:]
    quantized.opset_import.extend(imports)
    quantized.producer_name, quantized.producer_version = graph.producer_name, graph.producer_version


@contextlib.contextmanager
def _quiet_runtime() -> Iterator[None]:
    """Keep ONNX Runtime from warning about nodes that it does not use, within the block."""
    onnxruntime.set_default_logger_severity(ERRORS_ONLY)
    try:
        yield
    finally:
        onnxruntime.set_default_logger_severity(WARNINGS)
