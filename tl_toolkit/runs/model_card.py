"""Writing the model card of a finished run."""

import platform
from pathlib import Path
from typing import Any

import torch

from tl_toolkit.data.targets import count_classes
from tl_toolkit.inference.classifier import ImageClassifier
from tl_toolkit.io.files import write_text
from tl_toolkit.report.model_card import MODEL_CARD_FILE, CardFacts, model_card
from tl_toolkit.stages.context import RunContext
from tl_toolkit.system.processes import world
from tl_toolkit.text import plural

EARLIER_CARD_FILE = "model_card.earlier.md"


def write_model_card(context: RunContext, folder: Path, model: ImageClassifier, summary: dict[str, Any]) -> Path:
    """Write the model card; one that is there already, which its author may have completed, is kept beside it.

    Args:
        context: What the stages of the run share.
        folder: The run folder.
        model: The model, whose metadata has the results.
        summary: The content of summary.json.
    """
    path = folder / MODEL_CARD_FILE
    facts = CardFacts(
        metadata=model.metadata,
        summary=summary,
        images_by_class={
            split: count_classes(samples.targets, context.classes) for split, samples in context.splits.present.items()
        },
        parameters=sum(weight.numel() for weight in model.module.parameters()),
        hardware=_hardware(context.setup.device, summary["threads"]),
    )
    if path.exists():
        path.replace(folder / EARLIER_CARD_FILE)
    write_text(path, model_card(facts))
    return path


def _hardware(device: torch.device, threads: int) -> str:
    """Return in words what a run computes on."""
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
    else:
        name = f"{device.type} ({platform.machine()}, {plural(threads, 'thread')})"
    return name if world().size == 1 else f"{world().size} processes, each with {name}"
