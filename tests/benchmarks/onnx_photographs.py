"""ONNX with the preprocessing inside beside `tl predict`, on photographs of every size.

    python -m tests.benchmarks.onnx_photographs --model RUN --images FOLDER ... [--count 500]

The model is exported by `tl export --to onnx --with-preprocessing`. ONNX Runtime gets the pixels that Pillow decodes,
in full size, and nothing else; `tl predict` gets the file. What lies between them is told apart, one step at a time:
the precision (bf16 where the CPU has it), the decoder (`tl` decodes a large JPEG file at a half, a quarter or an eighth
of its size), and the rest: how the graph resizes, and how ONNX Runtime adds up.
"""

import argparse
import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from rich.table import Table

import tl_toolkit as tl
from tl_toolkit.data.images import open_image
from tl_toolkit.inference.classifier import ImageClassifier
from tl_toolkit.metrics.logits import probabilities

PRECISION, DECODER, KERNELS = "precision", "decoder", "resizing and adding up"
FP32, ALL = "tl predict in fp32 and ONNX", "tl predict as it is and ONNX"


def choose(folders: Sequence[Path], count: int) -> list[Path]:
    """Photographs of every size: those of each folder in the order of their size, evenly spread."""
    chosen: list[Path] = []
    for left, folder in zip(range(len(folders), 0, -1), folders, strict=True):
        found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
        found.sort(key=_pixels)
        most = min(len(found), (count - len(chosen)) // left)
        chosen += [found[round(place)] for place in np.linspace(0, len(found) - 1, most)]
    return chosen


def _pixels(path: Path) -> int:
    with Image.open(path) as image:
        return image.width * image.height


def shares(model: ImageClassifier, images: Sequence[object]) -> torch.Tensor:
    """The probabilities of the classes (N, classes), one image at a time as a service would ask."""
    rows = [model.logits([image]) for image in images]
    return probabilities(torch.cat(rows) / model.metadata.temperature, model.metadata.loss)


def differences(found: torch.Tensor, expected: torch.Tensor) -> dict[str, float]:
    """How far probabilities (N, classes) are apart."""
    apart = (found - expected).abs().amax(dim=1)
    return {
        "same class": float((found.argmax(dim=1) == expected.argmax(dim=1)).double().mean()),
        "median": float(apart.median()),
        "99 %": float(apart.quantile(0.99)),
        "most": float(apart.max()),
    }


def measure(model: Path, folders: Sequence[Path], count: int) -> Mapping[str, object]:
    """Compare both, and name the photographs whose class is another."""
    paths = choose(folders, count)
    with tempfile.TemporaryDirectory() as folder:
        written = tl.export(model, "onnx", out=Path(folder) / "model.onnx", with_preprocessing=True)
        session = onnxruntime.InferenceSession(written.path)
    pixels: list[NDArray[np.uint8]] = [np.asarray(open_image(path)) for path in paths]
    graph = torch.from_numpy(
        np.concatenate([session.run(["probabilities"], {"images": image[None]})[0] for image in pixels])
    )
    plain = tl.load(model, device="cpu", precision="fp32")
    predicted = shares(tl.load(model, device="cpu"), paths)
    from_files, from_pixels = shares(plain, paths), shares(plain, pixels)
    top = graph.topk(2).values
    names = plain.class_names
    others = (graph.argmax(dim=1) != predicted.argmax(dim=1)).nonzero()[:, 0].tolist()
    sides = sorted(max(image.shape[:2]) for image in pixels)
    return {
        "photographs": len(paths),
        "longer side": [sides[0], sides[len(sides) // 2], sides[-1]],
        PRECISION: differences(predicted, from_files),
        DECODER: differences(from_files, from_pixels),
        KERNELS: differences(graph, from_pixels),
        FP32: differences(graph, from_files),
        ALL: differences(graph, predicted),
        "other class": {
            paths[image].name: f"{names[graph[image].argmax()]} {top[image, 0]:.3f} before {top[image, 1]:.3f}, "
            f"tl predict says {names[predicted[image].argmax()]}"
            for image in others
        },
    }


def main() -> None:
    """Print a table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--images", type=Path, nargs="+", required=True)
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = measure(options.model, options.images, options.count)
    if options.json:
        print(json.dumps(found, indent=2))
        return
    side = found["longer side"]
    table = Table(title=f"{found['photographs']} photographs, longer side {side} (least, median, most)")
    for column in ("difference of", "same class", "median", "99 %", "most"):
        table.add_column(column)
    for step in (PRECISION, DECODER, KERNELS, FP32, ALL):
        row = found[step]
        table.add_row(step, f"{row['same class']:.2%}", *(f"{row[name]:.1e}" for name in ("median", "99 %", "most")))
    Console().print(table)
    for name, what in found["other class"].items():
        print(f"{name}: {what}")


if __name__ == "__main__":
    main()
