"""ONNX, for ONNX Runtime and other programs that run networks without PyTorch."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from tl_toolkit.errors import ToolkitError
from tl_toolkit.exports.base import Dtype, ExportFormat, ExportOptions, ExportRequest
from tl_toolkit.io.own_files import ONNX_METADATA, ONNX_PREPROCESSING

if TYPE_CHECKING:
    import torch
    from onnxruntime import InferenceSession

    from tl_toolkit.exports.comparison import CheckBatch

CLASS_NAMES = "class_names"
"""Key whose value is the class names as JSON, for other programs."""

TOLERANCES: Mapping[Dtype, float] = {"fp32": 1e-4, "fp16": 3e-2}
"""Largest difference of an output; fp16 has 11 bits: networks were seen to lose up to a hundredth of the largest."""

INSIDE_TOLERANCE = 2e-2
"""Largest difference of a probability with the preprocessing inside, where some pixels differ by 1 of 255: a few of a
photograph, up to a fifth of a small image that is enlarged."""


class Onnx(ExportFormat):
    """An ONNX file with a dynamic batch, its class names and its preprocessing.

    The input is `images` (N, C, H, W), float32, normalized as the InputSpec says, and the first output `logits`
    (N, classes). With the preprocessing inside, the input is `images` (N, H, W, 3), uint8 RGB of any size, and the
    first output `probabilities` (N, classes). If the model file has statistics of the training images, the last output
    is `features` (N, D).
    """

    description = "ONNX, for ONNX Runtime"
    file = "model.onnx"
    dtypes = ("fp32", "fp16", "int8")
    preprocessing = True
    names_classes = True
    needs: ClassVar[Mapping[str, str]] = {"onnx": "onnx", "onnxscript": "onnx", "onnxruntime": "onnx"}

    def write(self, request: ExportRequest, path: Path) -> Mapping[str, Any]:
        """Write the graph of the network, with the preprocessing if asked, and its metadata."""
        import torch

        from tl_toolkit.exports.onnx_graph import OPSET, network_graph, save_graph
        from tl_toolkit.exports.onnx_preprocessing import IMAGES, NORMALIZED, add_preprocessing

        model, inside = request.model, request.options.with_preprocessing
        dtype = torch.float16 if request.options.dtype == "fp16" else torch.float32
        input_name, details = NORMALIZED if inside else IMAGES, dict[str, Any]()
        if request.options.dtype == "int8":
            from tl_toolkit.exports.int8 import ValImages, quantize

            val = ValImages(request)  # First, since there may be none.
            graph, details = quantize(network_graph(model, dtype, input_name), request, val)
        else:
            graph = network_graph(model, dtype, input_name)
        if inside:
            add_preprocessing(graph, model.metadata)
        save_graph(graph, path, self.metadata(request))
        return {
            "opset": OPSET,
            "inputs": {value.name: _describe(value) for value in graph.graph.input},
            "outputs": {value.name: _describe(value) for value in graph.graph.output},
            **details,
        }

    def metadata(self, request: ExportRequest) -> dict[str, str]:
        """Return the metadata of the file, text by key."""
        header = request.model.metadata.to_metadata()
        header.pop("split_note", None)  # It is of use to `tl evaluate` alone, and may be large.
        return {
            ONNX_METADATA: json.dumps(header, ensure_ascii=False),
            ONNX_PREPROCESSING: "inside" if request.options.with_preprocessing else "outside",
            CLASS_NAMES: json.dumps(request.model.class_names, ensure_ascii=False),
        }

    def open_outputs(self, request: ExportRequest, path: Path) -> "Callable[[CheckBatch], torch.Tensor]":
        """Run the file by ONNX Runtime on the CPU.

        Raises:
            ToolkitError: ONNX Runtime cannot run it.
        """
        import numpy as np
        import torch

        session = open_session(path)

        def outputs(batch: "CheckBatch") -> torch.Tensor:
            if request.options.with_preprocessing:
                pictures = (np.asarray(image.convert("RGB")) for image in batch.decoded)  # Of any size, one by one.
                return torch.cat([_run(session, "probabilities", picture[None]) for picture in pictures])
            return _run(session, "logits", batch.inputs.numpy())

        return outputs

    def code(self, request: ExportRequest, name: str) -> list[str]:
        """Return code of ONNX Runtime, with Pillow where the file takes pixels."""
        inside, spec = request.options.with_preprocessing, request.model.input_spec
        opened = "onnxruntime.InferenceSession"
        if not inside:
            shape = f"(1, {spec.channels}, {spec.height}, {spec.width})"
            return [
                "import numpy",
                "import onnxruntime",
                f'session = {opened}({name!r}, providers=["CPUExecutionProvider"])',
                f"images = numpy.zeros({shape}, numpy.float32)  # Resized and normalized pixels, as input_spec says.",
                '[logits] = session.run(["logits"], {"images": images})',
            ]
        return [
            "import json",
            "import numpy",
            "import onnxruntime",
            "from PIL import Image, ImageOps",
            f'session = {opened}({name!r}, providers=["CPUExecutionProvider"])',
            f'names = json.loads(session.get_modelmeta().custom_metadata_map["{CLASS_NAMES}"])',
            'image = ImageOps.exif_transpose(Image.open("cat.png")).convert("RGB")',
            '[shares] = session.run(["probabilities"], {"images": numpy.asarray(image)[None]})',
            "print(names[shares[0].argmax()], shares[0].max())",
        ]

    def expected_outputs(self, request: ExportRequest, batch: "CheckBatch") -> "torch.Tensor":
        """Return logits (N, classes), or with the preprocessing inside the probabilities."""
        if not request.options.with_preprocessing:
            return super().expected_outputs(request, batch)
        from tl_toolkit.metrics.logits import probabilities

        model = request.model
        # Of the pixels that the file is given: `tl predict` decodes a large JPEG file at a fraction of its size.
        return probabilities(model.logits(batch.decoded) / model.metadata.temperature, model.metadata.loss)

    def tolerance(self, options: ExportOptions) -> float | None:
        """Return the largest difference of a logit or probability; of int8 any, since its accuracy on val decides.

        Only where the model gives two classes the same within twice this, the likeliest one can be another.
        """
        if options.dtype == "int8":
            return None
        tolerance = TOLERANCES[options.dtype]
        return max(tolerance, INSIDE_TOLERANCE) if options.with_preprocessing else tolerance


def open_session(path: Path) -> "InferenceSession":
    """Open a file in ONNX Runtime, on the CPU.

    Raises:
        ToolkitError: It cannot be run.
    """
    import onnxruntime

    try:
        return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    except Exception as error:  # Its errors have no common type but this.
        raise ToolkitError(f"ONNX Runtime {onnxruntime.__version__} cannot run the file: {error}") from error


def _run(session: "InferenceSession", output: str, images: Any) -> "torch.Tensor":
    """Return an output of a file for images."""
    import torch

    return torch.from_numpy(session.run([output], {"images": images})[0])


def _describe(value: Any) -> str:
    """Return type and shape of an input or output in words, such as "float32 (batch, 3, 224, 224)"."""
    from onnx import helper

    tensor = value.type.tensor_type
    kind = helper.tensor_dtype_to_np_dtype(tensor.elem_type)
    return f"{kind} ({', '.join(str(size.dim_param or size.dim_value) for size in tensor.shape.dim)})"
