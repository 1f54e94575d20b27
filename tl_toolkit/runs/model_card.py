"""Writing the model card of a finished run."""

import hashlib
import platform
import re
from pathlib import Path
from typing import Any

import torch

from tl_toolkit.data.targets import count_classes
from tl_toolkit.errors import ToolkitError
from tl_toolkit.inference.classifier import ImageClassifier
from tl_toolkit.io.files import write_text
from tl_toolkit.report.model_card import MODEL_CARD_FILE, CardFacts, model_card
from tl_toolkit.stages.context import RunContext
from tl_toolkit.system.processes import world
from tl_toolkit.text import plural

COMPLETED_CARD_FILE = "model_card.completed.md"
"""Where a card that its author has completed goes when a run is trained for longer."""

SIGNATURE = re.compile(r"\n<!-- As tl wrote it: ([0-9a-f]{16}) -->\n\Z")
"""Ends a card, with a digest of what is above: so a card that nobody has changed is known."""


def write_model_card(context: RunContext, folder: Path, model: ImageClassifier, summary: dict[str, Any]) -> Path:
    """Write or replace the model card; one that its author has completed is kept beside it.

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
    keep_if_completed(path)
    write_text(path, signed(model_card(facts)))
    return path


def keep_if_completed(card: Path) -> None:
    """Move a card that was changed since it was written, if there is one; of several the last one is kept.

    Raises:
        ToolkitError: It cannot be read or moved.
    """
    try:
        text = card.read_text(encoding="utf-8", errors="replace")
        if signed(SIGNATURE.sub("", text)) != text:
            card.replace(card.with_name(COMPLETED_CARD_FILE))
    except FileNotFoundError:
        return
    except OSError as error:
        raise ToolkitError(f"Cannot replace {card}: {error.strerror}.") from error


def read_card(folder: Path) -> str | None:
    """Return the model card of a run folder, as its author may have completed it, without the signature.

    Raises:
        ToolkitError: It cannot be read.
    """
    path = folder / MODEL_CARD_FILE
    try:
        return SIGNATURE.sub("", path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise ToolkitError(f"{path} cannot be read: {error}.") from error


def signed(text: str) -> str:
    """Return a card with its signature."""
    digest = hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=8).hexdigest()
    return f"{text}\n<!-- As tl wrote it: {digest} -->\n"


def _hardware(device: torch.device, threads: int) -> str:
    """Return in words what a run computes on."""
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
    else:
        name = f"{device.type} ({platform.machine()}, {plural(threads, 'thread')})"
    return name if world().size == 1 else f"{world().size} processes, each with {name}"
