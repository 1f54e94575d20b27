"""The run folder: runs/<date>-<arch>-<data>[-n]/ and what is in it."""

import datetime
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tl_toolkit.artifact import MODEL_FILE
from tl_toolkit.data.checking import BadImage
from tl_toolkit.errors import ToolkitError, UsageError
from tl_toolkit.files import user_path, write_csv, write_text
from tl_toolkit.training.loop import EvalRecord

RUNS = Path("runs")
LAST_FILE = "last.safetensors"
CONFIG_FILE = "config.yaml"
METRICS_FILE = "metrics.jsonl"
SUMMARY_FILE = "summary.json"
BAD_IMAGES_FILE = "bad_images.csv"
CURVES_FILE = "curves.png"
TENSORBOARD_FOLDER = "tensorboard"
STATE_DICT_FILE = "state_dict.pt"
FULL_MODEL_FILE = "full_model.pt"


def create_run_folder(out: str | None, arch: str, data: str) -> Path:
    """Makes a new folder: exactly `out`, or one under runs/ named after date, network and data.

    Raises:
        ToolkitError: The folder cannot be made.
    """
    try:
        if out is not None:
            folder = user_path(out)
            folder.mkdir(parents=True)
            return folder
        RUNS.mkdir(exist_ok=True)
        base = f"{datetime.date.today():%Y-%m-%d}-{_plain(arch)}-{_plain(data)}"
        number = 1
        while True:
            folder = RUNS / (base if number == 1 else f"{base}-{number}")
            try:
                folder.mkdir()
                return folder
            except FileExistsError:
                number += 1
    except OSError as error:
        raise ToolkitError(
            f"Cannot make the run's folder {out or RUNS}: {error.strerror}. Choose another --out."
        ) from error


def check_out(out: str | None) -> None:
    """Refuses a folder that cannot serve before any work is done.

    Raises:
        UsageError: `out` exists, or its name is no text.
    """
    if out is None:
        return
    if "\\udc" in ascii(out):
        raise UsageError(f"The name of --out, {out!a}, is no valid UTF-8; safetensors cannot be written there.")
    if user_path(out).exists():
        raise UsageError(f"The folder {out} exists; nothing is ever overwritten. Choose another --out.")


def newest_run(runs: Path = RUNS) -> Path:
    """The run under runs/ whose model was written last.

    Raises:
        UsageError: There is none.
    """
    models = list(runs.glob(f"*/{MODEL_FILE}")) if runs.is_dir() else []
    if not models:
        raise UsageError(
            f"There is no run in {runs.resolve()}. Train one with `tl finetune`, or say --model RUN or --model FILE."
        )
    return max(models, key=lambda path: path.stat().st_mtime).parent


def write_config(folder: Path, yaml_text: str) -> Path:
    """Writes the settings, so that the run can be made again."""
    path = folder / CONFIG_FILE
    write_text(path, f"# Run again with: tl finetune --config {CONFIG_FILE}\n{yaml_text}")
    return path


def append_metrics(folder: Path, record: dict[str, Any]) -> None:
    """Adds a line to metrics.jsonl.

    Raises:
        ToolkitError: It cannot be written.
    """
    try:
        with (folder / METRICS_FILE).open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
    except OSError as error:
        raise ToolkitError(f"Cannot write {folder / METRICS_FILE}: {error.strerror}.") from error


def read_metrics(run: str) -> list[EvalRecord]:
    """The evaluations that a run's metrics.jsonl holds.

    Args:
        run: A run folder.

    Raises:
        UsageError: The folder has no such file, or no evaluation is in it.
        ToolkitError: The file is damaged.
    """
    path = user_path(run) / METRICS_FILE
    try:
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        records = [EvalRecord(**line) for line in lines if "val_loss" in line]
    except OSError as error:
        raise UsageError(f"{run} is no run folder that has metrics: {path} ({error.strerror}).") from error
    except (ValueError, TypeError) as error:
        raise ToolkitError(f"{path} is damaged: {error}.") from error
    if not records:
        raise UsageError(f"{path} holds no evaluation yet; plot the run when its first epoch is over.")
    return records


def write_summary(folder: Path, summary: dict[str, Any]) -> Path:
    """Writes summary.json."""
    path = folder / SUMMARY_FILE
    write_text(path, json.dumps(summary, indent=2, ensure_ascii=False) + "\n", undecodable="backslashreplace")
    return path


def write_bad_images(folder: Path, bad: Sequence[BadImage]) -> Path:
    """Writes the images that were left out, with the reasons."""
    path = folder / BAD_IMAGES_FILE
    write_csv(path, ["split", "path", "reason"], ([image.split, image.path, image.reason] for image in bad))
    return path


def _plain(name: str) -> str:
    """A name without what a path could misunderstand."""
    return re.sub(r"[^\w.-]+", "-", name).strip("-.") or "data"
