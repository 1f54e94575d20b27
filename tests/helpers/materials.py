"""What a report is made from, without training anything."""

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tl_toolkit.config.choices import Loss, Task
from tl_toolkit.data.image_sets import ArrayImages
from tl_toolkit.data.samples import Samples
from tl_toolkit.events import EvalRecord
from tl_toolkit.input_spec import InputSpec
from tl_toolkit.metrics.base import ScoreMeter
from tl_toolkit.metrics.predictions import Predictions
from tl_toolkit.model_file import ModelMetadata
from tl_toolkit.report.content import ReportContent
from tl_toolkit.report.pictures import FoundImages, Pictures
from tl_toolkit.report.tables import SplitMetrics
from tl_toolkit.runs.report_content import collect
from tl_toolkit.runs.report_galleries import Drawer
from tl_toolkit.runs.report_material import RunMaterial

SPEC = InputSpec(height=32, width=32)
RECORD = EvalRecord("probe", 1, 1, 4, 4, 0.5, 0.75, 0.4, 0.8, 1e-2, 64, 1.0, 64.0)


def predictions_of(
    targets: Sequence[int] | torch.Tensor,
    classes: int,
    task: Task = "multi-class",
    seed: int = 0,
    names: Sequence[str] | None = None,
) -> Predictions:
    """Return predictions with random logits, mostly right."""
    generator = torch.Generator().manual_seed(seed)
    truth = torch.as_tensor(targets)
    logits = torch.randn(len(truth), classes, generator=generator)
    logits += 2 * (torch.nn.functional.one_hot(truth, classes) if truth.ndim == 1 else truth)
    loss: Loss = "bce" if task == "multi-label" else "cross-entropy"
    called = names or [f"image {index}" for index in range(len(truth))]
    return Predictions(logits, truth, called, [None] * len(truth), loss, task)


def noise(count: int) -> FoundImages:
    """Return images of noise."""
    random = np.random.default_rng(0)
    pixels = [random.integers(0, 255, (40, 30, 3), dtype=np.uint8) for _ in range(count)]
    return FoundImages.all_of(Samples(ArrayImages(pixels), [0] * count))


def material_of(of: Predictions, class_names: Sequence[str], **changes: Any) -> RunMaterial:
    """Return the material of a finished run with these predictions of val and pictures of noise."""
    meter = ScoreMeter(len(class_names), torch.device("cpu"), task=of.task)
    meter.update(torch.tensor(0.5), of.logits, of.targets)
    metadata = ModelMetadata("timm:test_resnet", "swap", 10, tuple(class_names), SPEC, loss=of.loss, task=of.task)
    material = RunMaterial(
        folder=Path("runs/made up"),
        metadata=metadata,
        summary={"val_images": len(of), "train_images": 100, "test_images": 0, "seconds": 1.0, "threads": 1},
        records=[RECORD],
        config="seed: 0\n",
        split="val",
        metrics=SplitMetrics.of_scores(meter.compute(), class_names),
        predictions=of,
        images={"val": noise(len(of))},
    )
    return dataclasses.replace(material, **changes)


def content_of(material: RunMaterial, max_bytes: int = 2**22, seconds: float = math.inf) -> ReportContent:
    """Return the content of the report, with all pictures by default."""
    pictures = Pictures(material.images, material.metadata.input_spec.channels, max_bytes, seconds)
    return collect(material, pictures, Drawer(material.model, seconds))
