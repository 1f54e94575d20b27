"""What a report is made from: a run, as its end or its folder gives it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tl_toolkit.events import EvalRecord
from tl_toolkit.inference.classifier import ImageClassifier
from tl_toolkit.metrics.predictions import Predictions
from tl_toolkit.model_file import ModelMetadata
from tl_toolkit.report.feature_map import Projection
from tl_toolkit.report.pictures import FoundImages
from tl_toolkit.report.tables import SplitMetrics
from tl_toolkit.runs.suspicious_labels import SuspiciousLabel, read_suspicious
from tl_toolkit.stages.context import RunContext


@dataclass(frozen=True)
class RunMaterial:
    """What a report is made from.

    Attributes:
        folder: The run folder.
        metadata: Of the model.
        summary: The content of summary.json; empty of a run that is not finished.
        records: The evaluations while training.
        config: The settings as YAML.
        split: The split that the report is of.
        metrics: Its figures; None where nothing is known of it.
        predictions: What the model gives for its images; None where that is not known.
        images: Where images are, by split: of `split` those of its predictions, of others all.
        suspicious: Images whose labels look wrong; None where labels were not checked.
        model: For heat maps; None to draw none.
        missing: What could not be found, and why.
        warnings: What is to be said of how the material was found.
        data_now: The folder or name of the data, if they have moved; empty for that of the settings.
        projection: How the map of the features was computed.
    """

    folder: Path
    metadata: ModelMetadata
    summary: Mapping[str, Any]
    records: Sequence[EvalRecord]
    config: str
    split: str
    metrics: SplitMetrics | None
    predictions: Predictions | None
    images: Mapping[str, FoundImages]
    suspicious: Sequence[SuspiciousLabel] | None = None
    model: ImageClassifier | None = None
    missing: Sequence[tuple[str, str]] = ()
    warnings: Sequence[str] = ()
    data_now: str = ""
    projection: Projection = "pca"

    @property
    def data(self) -> str:
        """The folder or name of the data that the run was trained on."""
        return str(self.settings.get("data", ""))

    @property
    def class_names(self) -> Sequence[str]:
        """In the order of the model."""
        return self.metadata.class_names

    @property
    def settings(self) -> Mapping[str, Any]:
        """The settings of the run, by name."""
        return self.metadata.training


def finished_material(
    context: RunContext,
    folder: Path,
    model: ImageClassifier,
    summary: Mapping[str, Any],
    records: Sequence[EvalRecord],
    predictions: Mapping[str, Predictions],
) -> RunMaterial:
    """Return what is known at the end of a run, where nothing needs to be found again."""
    splits = context.splits
    split = "test" if splits.test else "val"
    return RunMaterial(
        folder,
        model.metadata,
        summary,
        records,
        context.config.to_yaml(),
        split,
        SplitMetrics.of_summary(summary, split),
        predictions.get(split),
        {name: FoundImages.all_of(samples) for name, samples in splits.present.items()},
        read_suspicious(folder),
        model,
    )
