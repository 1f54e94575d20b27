"""Files of a backbone: a network's weights without its head, as the start of another fine-tune."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

FORMAT = "tl_toolkit.backbone"
KEPT = ("architecture", "arch_options", "input_spec", "class_names", "weights", "weights_license", "versions")
"""What the metadata of a model says of its backbone too."""


def save_backbone(path: Path, state: "Mapping[str, torch.Tensor]", metadata: Mapping[str, str]) -> None:
    """Write or replace a file.

    Args:
        path: The file.
        state: Weights outside the head, under the names that the library's own network has.
        metadata: Of the model that the backbone is of, as in its file.
    """
    from tl_toolkit.io.safetensors_file import save_checked

    kept = {name: metadata[name] for name in KEPT if name in metadata}
    save_checked(path, state, {"format": FORMAT, "format_version": "1", **kept})


def is_backbone(metadata: Mapping[str, str]) -> bool:
    """Return whether the metadata of a file are those of a backbone."""
    return metadata.get("format") == FORMAT


def describe_backbone(metadata: Mapping[str, str]) -> str:
    """Return what a backbone was trained on, in a few words."""
    try:
        classes: Sequence[str] = json.loads(metadata.get("class_names", "[]"))
    except json.JSONDecodeError:
        return "a backbone"
    return f"a backbone that was trained on {len(classes)} classes"
