"""Exporting a network that was not trained."""

from pathlib import Path

import numpy as np
from torch import nn

from tl_toolkit.exports.base import ExportOptions
from tl_toolkit.exports.comparison import CheckImages
from tl_toolkit.exports.writing import Export, export_model
from tl_toolkit.inference.classifier import ImageClassifier
from tl_toolkit.model_file import ModelMetadata
from tl_toolkit.training.device import select_device


def classifier(module: nn.Module, metadata: ModelMetadata) -> ImageClassifier:
    """A network with its metadata, on the CPU in fp32."""
    return ImageClassifier(module, metadata, select_device("cpu", "fp32", module))


def noise(images: int = 3, size: tuple[int, int] = (40, 56), seed: int = 0) -> CheckImages:
    """Images of random pixels, in place of real ones where any do."""
    pixels = np.random.default_rng(seed).integers(0, 256, (images, *size, 3), dtype=np.uint8)
    return CheckImages(list(pixels), "noise")


def export_network(module: nn.Module, metadata: ModelMetadata, to: str, path: Path, **options: object) -> Export:
    """Export a network, compared on noise."""
    return export_model(classifier(module, metadata), to, path, noise(), ExportOptions(**options))  # type: ignore[arg-type]
