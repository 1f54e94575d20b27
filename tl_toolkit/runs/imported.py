"""Run folders of models that were trained elsewhere: a model, a note of its origin, and settings to begin with."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import yaml

from tl_toolkit.errors import UsageError
from tl_toolkit.io.files import is_file, write_text
from tl_toolkit.io.own_files import CONFIG_FILE, IMPORT_FILE, MODEL_FILE
from tl_toolkit.model_file import ModelMetadata, save_model
from tl_toolkit.runs.folder import create_run_folder
from tl_toolkit.text import named

NOTE_FORMAT = "tl_toolkit.import"


def write_imported(
    out: str | None,
    name: str,
    state: Mapping[str, torch.Tensor],
    metadata: ModelMetadata,
    note: Mapping[str, Any],
) -> Path:
    """Write the run folder of a model that was trained elsewhere.

    Args:
        out: The folder, which must not exist; None for one under runs/.
        name: Name of the file that it is from, for the name of the folder.
        state: The weights.
        metadata: Of the model.
        note: Where it is from, and what matched.

    Returns:
        The folder.

    Raises:
        ToolkitError: It cannot be written; then nothing is left.
    """
    folder = create_run_folder(out, metadata.architecture.partition(":")[2], name)
    try:
        save_model(folder / MODEL_FILE, state, metadata)
        write_text(folder / IMPORT_FILE, json.dumps({"note": NOTE_FORMAT, **note}, indent=2, ensure_ascii=False) + "\n")
        settings = {"arch": metadata.architecture, "weights": str((folder / MODEL_FILE).absolute())}
        text = yaml.safe_dump(settings, sort_keys=False, allow_unicode=True)
        write_text(
            folder / CONFIG_FILE,
            "# This model was not trained here, but imported: see import.json.\n"
            f"# Train it further with: tl finetune --config {CONFIG_FILE} --data FOLDER\n{text}",
        )
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return folder


def is_imported(folder: Path) -> bool:
    """Return whether the model of a run folder was trained elsewhere."""
    return is_file(folder / IMPORT_FILE)


def refuse_imported(folder: Path) -> None:
    """Refuse to go on with the training of a model that was trained elsewhere.

    Raises:
        UsageError: The folder is one of an imported model.
    """
    if is_imported(folder):
        raise UsageError(
            f"The model in {folder} was imported, so there is no training to go on with. Train a new run from it: "
            f"{named('weights', str(folder / MODEL_FILE))}, with the same {named('arch')} and your {named('data')}."
        )
