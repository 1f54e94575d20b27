"""The metadata header of a model card, as the Hugging Face Hub reads it."""

import re
from collections.abc import Mapping
from typing import Any

from tl_toolkit.metrics.base import SCORE_OF
from tl_toolkit.model_file import ModelMetadata
from tl_toolkit.models.backbones import Arch, pretrained_url
from tl_toolkit.text import printable

HUB_WEIGHTS, HUB_DATA = "hf-hub:", "hf:"

LICENSES = (
    "apache-2.0",
    "mit",
    "bsd-2-clause",
    "bsd-3-clause",
    "cc-by-4.0",
    "cc-by-sa-4.0",
    "cc-by-nc-4.0",
    "cc0-1.0",
)
"""Licences that the Hub knows by these names, of those that networks are published under."""


def header(metadata: ModelMetadata, summary: Mapping[str, Any]) -> str:
    """Return the header as YAML.

    Args:
        metadata: Of the model.
        summary: The content of summary.json.
    """
    from huggingface_hub import EvalResult, ModelCardData  # 0.1 s: only where a card is written.

    data, hub_data = data_name(summary["data"]), hub_dataset(summary["data"])
    score = SCORE_OF[metadata.task]
    results = [
        EvalResult(
            task_type="image-classification",
            task_name="Image Classification",
            dataset_type=hub_data or slug(data),
            dataset_name=data,
            dataset_split=split,
            metric_type=score,
            metric_name=_metric_name(score, summary.get(f"{split}_intervals") or {}),
            metric_value=round(summary[f"{split}_{score}"], 6),
        )
        for split in ("val", "test")
        if summary.get(f"{split}_{score}") is not None
    ]
    library = metadata.architecture.partition(":")[0]
    card = ModelCardData(
        library_name="tl_toolkit",
        pipeline_tag="image-classification",
        base_model=base_model(metadata),
        datasets=[hub_data] if hub_data else None,
        metrics=[score],
        model_name=f"{metadata.architecture.partition(':')[2]} on {data}",
        eval_results=results or None,
        tags=["image-classification", *_task_tags(metadata), "transfer-learning", "fine-tuning", library],
    )
    card.license, card.license_name = license_of(metadata.weights_license)
    return str(card.to_yaml())


def base_model(metadata: ModelMetadata) -> str | None:
    """Return the repository of the Hub that the pretrained weights are from; None if they are from elsewhere."""
    weights = str(metadata.training.get("weights", ""))
    if weights == "imagenet" and metadata.architecture.startswith("timm:"):
        weights = pretrained_url(Arch("timm", metadata.architecture.removeprefix("timm:")))
    if not weights.startswith(HUB_WEIGHTS):
        return None
    return weights.removeprefix(HUB_WEIGHTS).partition("@")[0]


def data_name(data: str) -> str:
    """Return a name of the images that does not tell where they were: the last part of a path or URL."""
    if not data.startswith(HUB_DATA) and any(sign in data for sign in "/\\"):
        data = re.split(r"[/\\]", data.partition("?")[0].rstrip("/\\"))[-1] or "images"
    return printable(data)


def hub_dataset(data: str) -> str | None:
    """Return the repository of a dataset on the Hub; None for other images."""
    return re.split("[@:]", data.removeprefix(HUB_DATA))[0] if data.startswith(HUB_DATA) else None


def slug(text: str) -> str:
    """Return a name in the letters of an identifier."""
    return re.sub(r"[^\w.-]+", "-", text).strip("-").lower() or "images"


def _metric_name(score: str, intervals: Mapping[str, tuple[float, float]]) -> str:
    name = score.replace("_", " ")
    if score not in intervals:
        return name
    low, high = intervals[score]
    return f"{name}, 95 % interval {low:.3f} to {high:.3f}"


def _task_tags(metadata: ModelMetadata) -> list[str]:
    return {"multi-label": ["multi-label"], "soft": ["soft-labels"]}.get(metadata.task, [])


def license_of(stated: str) -> tuple[str | None, str | None]:
    """Return a licence and its name: one that the Hub knows needs no name; another is what its source says."""
    if not stated:
        return None, None
    known = stated.lower()
    return (known, None) if known in LICENSES else ("other", printable(stated))
