"""The run folder: runs/<date>-<arch>-<data>[-n]/ and what is in it."""

import contextlib
import datetime
import json
import os
import re
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

import filelock

from tl_toolkit.errors import ToolkitError, UsageError, shown
from tl_toolkit.files import is_file, is_folder, remove_unfinished, user_path, write_csv, write_text
from tl_toolkit.json_values import duration, mapping, number, record, whole_number
from tl_toolkit.naming import named
from tl_toolkit.own_files import CHECKPOINT_FILE as CHECKPOINT_FILE
from tl_toolkit.own_files import CONFIG_FILE as CONFIG_FILE
from tl_toolkit.own_files import LOCK_FILE, MODEL_FILE
from tl_toolkit.own_files import METRICS_FILE as METRICS_FILE
from tl_toolkit.training.records import EvalRecord, Record, StepRecord

if TYPE_CHECKING:
    from tl_toolkit.data.checking import BadImage  # With it comes torch, which takes seconds.

RUNS = Path("runs")
GIVE_A_MODEL = "Give a run folder, or a .safetensors file or a full model that tl wrote."
LAST_FILE = "last.safetensors"
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
            f"Cannot make the run's folder {out or RUNS}: {error.strerror}. Choose another {named('out')}."
        ) from error


def check_out(out: str | None) -> None:
    """Refuses a folder that cannot serve before any work is done.

    Raises:
        UsageError: `out` exists, or its name is no text.
    """
    if out is None:
        return
    if "\\udc" in ascii(out):
        raise UsageError(
            f"The name of {named('out')}, {out!a}, is no valid UTF-8; safetensors cannot be written there."
        )
    if user_path(out).exists():
        raise UsageError(f"The folder {out} exists; nothing is ever overwritten. Choose another {named('out')}.")


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keeps other processes from training in a folder; the system takes the lock off a process that dies.

    Raises:
        UsageError: Another process trains there.
        ToolkitError: The folder cannot be written.
    """
    try:
        with filelock.FileLock(folder / LOCK_FILE, timeout=0):
            remove_unfinished(folder)
            yield
    except filelock.Timeout as error:
        raise UsageError(f"Another process is training in {folder}. Wait until it is done, or stop it.") from error


def find_run(run: str | Path) -> Path:
    """The folder of a run that may be gone on with.

    Raises:
        UsageError: It is none.
    """
    folder = user_path(run)
    if not is_file(folder / CONFIG_FILE):
        runs = [str(path.parent) for path in sorted(RUNS.glob(f"*/{CONFIG_FILE}"))] if is_folder(RUNS) else []
        near = get_close_matches(str(folder), runs, n=3, cutoff=0.3)
        hint = f" Did you mean {' or '.join(near)}?" if near else " Give a folder that `tl finetune` wrote."
        raise UsageError(f"{folder} is no run: it has no {CONFIG_FILE}.{hint}")
    return folder


def find_model(path: str | Path) -> Path:
    """A path at which a model may be: a folder, or a file of any kind.

    Raises:
        UsageError: Nothing is there.
    """
    place = user_path(path)
    if not is_folder(place) and not is_file(place):
        raise UsageError(f"There is no model {str(path)!r}. {GIVE_A_MODEL}")
    return place


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


def write_config(folder: Path, yaml_text: str, threads: int) -> Path:
    """Writes the settings, so that the run can be made again, and with how many threads it then has the same bits."""
    path = folder / CONFIG_FILE
    command = f"tl finetune --config {CONFIG_FILE} --threads {threads}"
    write_text(
        path, f"# Run again with: {command}\n# With as many threads, a CPU like this gives the same bits.\n{yaml_text}"
    )
    return path


def begin_metrics(folder: Path, size: int) -> list[Record]:
    """Makes metrics.jsonl, or cuts it to the length that it had at a checkpoint.

    Returns:
        What is in it then.

    Raises:
        ToolkitError: It is shorter, damaged, or cannot be written.
    """
    path = folder / METRICS_FILE
    try:
        with path.open("ab") as file:
            if file.tell() < size:
                raise ToolkitError(
                    f"{path} is shorter ({file.tell()} bytes) than at the checkpoint ({size}). Put it back, or remove "
                    f"{CHECKPOINT_FILE} to train the run from its beginning."
                )
            file.truncate(size)
    except OSError as error:
        raise ToolkitError(f"Cannot write {path}: {error.strerror}.") from error
    return _read_records(path)


def append_metrics(folder: Path, record: dict[str, Any]) -> None:
    """Adds a line to metrics.jsonl.

    Raises:
        ToolkitError: It cannot be written.
    """
    try:
        with (folder / METRICS_FILE).open("ab", buffering=0) as file:
            file.write(f"{json.dumps(record)}\n".encode())
    except OSError as error:
        raise ToolkitError(f"Cannot write {folder / METRICS_FILE}: {error.strerror}.") from error


def sync_metrics(folder: Path) -> int:
    """Flushes metrics.jsonl to the disk.

    Returns:
        Its length.
    """
    try:
        with (folder / METRICS_FILE).open("ab") as file:
            os.fsync(file.fileno())
            return file.tell()
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
    if not is_file(path):
        raise UsageError(f"{run} is no run folder that has metrics: there is no {path}.")
    records = [record for record in _read_records(path) if isinstance(record, EvalRecord)]
    if not records:
        raise UsageError(f"{path} holds no evaluation yet; plot the run when its first epoch is over.")
    return records


def _read_records(path: Path) -> list[Record]:
    """Its lines; one that is not ended is being written, or its writer was killed."""
    try:
        whole = path.read_text(encoding="utf-8").rpartition("\n")[0]
        texts = {f"line {index}": text for index, text in enumerate(whole.splitlines(), start=1)}
        lines = {name: mapping(json.loads(text), name) for name, text in texts.items()}
        return [
            record(EvalRecord, line, name) if "val_loss" in line else record(StepRecord, line, name)
            for name, line in lines.items()
        ]
    except (OSError, ValueError, RecursionError) as error:
        raise ToolkitError(f"{path} is damaged: {error}.") from error


def write_summary(folder: Path, summary: dict[str, Any]) -> Path:
    """Writes summary.json."""
    path = folder / SUMMARY_FILE
    write_text(path, json.dumps(summary, indent=2, ensure_ascii=False) + "\n", undecodable="backslashreplace")
    return path


def read_summary(folder: Path) -> dict[str, Any] | None:
    """The results of a finished run; None where it is not finished.

    Raises:
        ToolkitError: The file is damaged.
    """
    path = folder / SUMMARY_FILE
    again = f"Remove it, and {named('resume')} writes it again"
    try:
        summary = mapping(json.loads(path.read_text(encoding="utf-8")), "it")
        _check_summary(summary)
    except FileNotFoundError:
        return None
    except KeyError as error:
        raise ToolkitError(f"{path} is damaged: it lacks {error}. {again}.") from error
    except (OSError, ValueError, RecursionError) as error:
        raise ToolkitError(f"{path} is damaged: {error}. {again}.") from error
    return summary


def _check_summary(summary: dict[str, Any]) -> None:
    """Looks at what is told again of a run that was finished before.

    Raises:
        KeyError: Something is missing.
        ValueError: Something makes no sense.
    """
    for name in ("epochs", "val_images", "test_images"):
        whole_number(summary[name], name)
    duration(summary["seconds"], "seconds")
    measured = {name: summary[name] for name in ("val_accuracy", "test_accuracy")}
    if measured["test_accuracy"] is None:  # Without a test split.
        del measured["test_accuracy"]
    for name, value in (measured | mapping(summary["class_accuracy"], "class_accuracy")).items():
        number(value, name)
    if not isinstance(summary["run"], str) or not isinstance(summary["bad_images"], list):
        raise ValueError("its run is no text, or its bad_images are no list")
    if "stages" in summary:  # Runs of earlier versions do not have them.
        _check_stages(mapping(summary["stages"], "stages"), summary)


def _check_stages(stages: dict[str, Any], summary: dict[str, Any]) -> None:
    """Looks at what each stage brought; in runs of earlier versions its best accuracy stands there alone.

    Raises:
        KeyError: Something is missing.
        ValueError: Something makes no sense.
    """
    whole_number(summary["best_epoch"], "best_epoch")
    if summary["best_stage"] not in list(stages):
        raise ValueError(f"its best_stage {shown(summary['best_stage'])} is none of its stages")
    for stage, best in stages.items():
        if isinstance(best, dict):
            whole_number(best["epoch"], f"epoch of {stage}")
            best = best["val_accuracy"]
        number(best, f"val_accuracy of {stage}")


def write_bad_images(folder: Path, bad: "Sequence[BadImage]") -> Path:
    """Writes the images that were left out, with the reasons."""
    path = folder / BAD_IMAGES_FILE
    write_csv(path, ["split", "path", "reason"], ([image.split, image.path, image.reason] for image in bad))
    return path


def _plain(name: str) -> str:
    """A name without what a path could misunderstand."""
    return re.sub(r"[^\w.-]+", "-", name).strip("-.") or "data"
