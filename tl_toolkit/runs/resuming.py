"""Resuming a run: what may change, what must not, and from where training continues."""

import dataclasses
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tl_toolkit.config.choices import RESUMABLE
from tl_toolkit.config.config_file import read_config_file
from tl_toolkit.config.finetune import FinetuneConfig, is_data_path
from tl_toolkit.data.prepare import CLASSES, contents_of
from tl_toolkit.data.sources.shard_files import find_shards, names_shards
from tl_toolkit.errors import ModelFileError, UsageError
from tl_toolkit.io.files import expand_path, is_file, is_folder
from tl_toolkit.io.own_files import CHECKPOINT_FILE, CONFIG_FILE
from tl_toolkit.runs.checkpoint import Checkpoint
from tl_toolkit.sampling.order import ORDER, SHUFFLED
from tl_toolkit.text import MAX_SHOWN, join_names, named, names_flags
from tl_toolkit.training.loop import Stage, StageProgress
from tl_toolkit.training.plan import StageConfig
from tl_toolkit.training.state import check_weights, restore_progress, restore_random


def resumed_config(folder: Path, changes: Mapping[str, Any]) -> FinetuneConfig:
    """Return the settings of a run with some of them changed.

    Raises:
        UsageError: A setting may not change, or the images are not where they were.
        ToolkitError: The file is damaged.
    """
    fixed = [name for name in changes if name not in RESUMABLE]
    if fixed:
        wrong, free = (", ".join(named(name) for name in names) for names in (fixed, sorted(RESUMABLE)))
        raise UsageError(
            f"A run that is resumed has the settings of its {CONFIG_FILE}: {wrong} cannot change, only {free}. For "
            "other settings, train a new run."
        )
    config = FinetuneConfig.from_values(read_config_file(folder / CONFIG_FILE), changes)
    if is_data_path(config.data) and "data" not in changes and (missing := _missing(config.data)):
        raise UsageError(
            f"The images of {folder} are not where they were: {missing} Say with {named('data')} where they are now; "
            "they must be the same ones."
        )
    return config


def _missing(data: str) -> str:
    """Return which files of a run's images are missing, as a sentence; empty if none is."""
    if names_shards(data):
        try:
            find_shards(data)
        except UsageError as error:
            return str(error)
        return ""
    path = expand_path(data)
    return "" if is_folder(path) or is_file(path) else f"there is no folder {data}."


def resumed_stage_config(checkpoint: Checkpoint, planned: StageConfig, config: FinetuneConfig) -> StageConfig:
    """Return the settings of a stage that resumes: those of its checkpoint, with more epochs if the user gave more.

    Raises:
        UsageError: Another version of tl gave the run other stages.
    """
    saved = checkpoint.settings
    if saved.name != planned.name:
        raise UsageError(
            f"The checkpoint is one of a {saved.name} stage, but this version of tl has {planned.name} "
            "there: another version wrote it. Train a new run with its config.yaml."
        )
    if config.epochs is None or config.time_budget or saved.optimizer != planned.optimizer:
        return saved  # What was chosen when the stage began stands.
    return dataclasses.replace(saved, epochs=planned.epochs)


def resumed_progress(
    checkpoint: Checkpoint,
    stage: Stage,
    fingerprint: Callable[[], Mapping[str, Any]],
    folder: Path,
    device: torch.device,
) -> StageProgress:
    """Restore how far a stage was, and the states of the random generators.

    Raises:
        UsageError: The frozen weights changed, or the stage has more epochs behind it than it is to have.
    """
    saved = checkpoint.resume_fingerprint
    noted = {ORDER: SHUFFLED} if ORDER in saved else {}
    check_resumable(saved, {**noted, **fingerprint()}, folder)
    progress = restore_progress(checkpoint.state, stage.module, device)
    done = progress.epoch(len(stage.train))
    if done > stage.epochs:
        raise UsageError(
            f"The run has come to epoch {done} of the {stage.name} stage: {named('epochs')} must be {done} or more."
        )
    restore_random(checkpoint.state)
    return progress


def check_fits(checkpoint: Checkpoint, module: nn.Module, stages: int) -> None:
    """Refuse a checkpoint of another run.

    Raises:
        ModelFileError: The run has fewer stages, or the network other weights.
    """
    if checkpoint.stage >= stages:
        raise ModelFileError(
            f"The checkpoint is one of stage {checkpoint.stage + 1}, but the run has {stages}. Without its "
            f"{CHECKPOINT_FILE} {named('resume')} trains the run from its beginning."
        )
    check_weights(module, checkpoint.weights_of_best())


def where_it_resumes(checkpoint: Checkpoint | None, stages: Sequence[StageConfig]) -> str:
    """Return in words from where training continues."""
    if checkpoint is None:
        return "from its beginning: it has no checkpoint yet"
    return f"after step {checkpoint.state.step:,} of the {stages[checkpoint.stage].name} stage"


def check_resumable(saved: Mapping[str, Any], now: Mapping[str, Any], folder: Path) -> None:
    """Refuse to resume a run whose images, settings or pretrained weights changed.

    Args:
        saved: The fingerprint in the checkpoint.
        now: The fingerprint, or a part of it, as it is now.
        folder: The run folder.

    Raises:
        UsageError: Something changed.
    """
    changed = [name for name in now if _differs(name, saved, now)]
    if not changed:
        return
    what = [
        f"{name} ({_cut(_before(name, saved))} before, {_cut(now[name])} now)" for name in changed if name != "settings"
    ]
    if "settings" in changed:
        before, after = _fixed_settings(saved), now["settings"]
        differing = [name for name in {**before, **after} if before.get(name) != after.get(name)]
        what.append(f"{join_names(differing)} in {CONFIG_FILE}")
    settings = folder / CONFIG_FILE
    command = f"tl finetune --config {shlex.quote(str(settings))}"
    new_run = command if names_flags() else f"its settings are in {settings}"
    raise UsageError(
        f"{folder} cannot be resumed exactly: {' and '.join(what)} changed since its checkpoint. Put back what was "
        f"there, or train a new run: {new_run}"
    )


def _differs(name: str, saved: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Return whether a part of the fingerprint changed. Images may move as long as their contents are the same.

    Checkpoints of earlier versions lack contents or classes.
    """
    if name == "settings":
        return bool(_fixed_settings(saved) != now[name])
    if name.startswith(contents_of("")) or (name == CLASSES and name not in saved):
        return False
    if name == ORDER:
        return bool(_before(name, saved) != now[name])
    contents = contents_of(name)
    return bool(saved.get(name) != now[name]) and (contents not in now or saved.get(contents) != now[contents])


def _before(name: str, saved: Mapping[str, Any]) -> object:
    return saved.get(name, SHUFFLED if name == ORDER else None)


def _fixed_settings(saved: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a checkpoint that may not change.

    Earlier versions saved some that may, and had no others that now have a default.
    """
    defaults = FinetuneConfig().to_resume()
    settings = {**defaults, **saved.get("settings", {})}
    return {name: value for name, value in settings.items() if name not in RESUMABLE}


def _cut(part: object) -> str:
    text = str(part)
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}..."
