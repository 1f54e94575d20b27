"""checkpoint.safetensors: everything that a run needs to go on from where it was."""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch

from tl_toolkit.config.choices import MAX_THREADS
from tl_toolkit.errors import ModelFileError
from tl_toolkit.events import EvalRecord
from tl_toolkit.io.json_validation import duration, mapping, record, whole_number
from tl_toolkit.io.safetensors_file import load_checked, save_checked
from tl_toolkit.text import format_value, named
from tl_toolkit.training.plan import StageConfig
from tl_toolkit.training.state import StageState

FORMAT = 1
BEST = "best."


@dataclass(frozen=True)
class Checkpoint:
    """A run between two steps.

    Attributes:
        stage: Which of the run's stages, from 0.
        settings: The stage's, with what was chosen in the run.
        state: The stage's.
        best: The best evaluation so far.
        best_weights: What of the network's state_dict had other values then; None where that is what it is now.
        metrics_bytes: Length of metrics.jsonl.
        seconds: That the run has taken.
        resume_fingerprint: What must still be the same when the run goes on, by name.
        threads: That the run computed with; None where an earlier version wrote the file.
    """

    stage: int
    settings: StageConfig
    state: StageState
    best: EvalRecord | None
    best_weights: Mapping[str, torch.Tensor] | None
    metrics_bytes: int
    seconds: float
    resume_fingerprint: Mapping[str, Any]
    threads: int | None = None

    def weights_of_best(self) -> dict[str, torch.Tensor]:
        """Those that `best` speaks of; what they leave out is as the run found it."""
        if not self.best:
            return {}
        return dict(self.state.weights() if self.best_weights is None else self.best_weights)

    def write(self, path: Path) -> None:
        """Writes it, whole or not at all.

        Raises:
            ToolkitError: The disk is full or cannot be written.
        """
        values = {
            "format": FORMAT,
            "stage": self.stage,
            "settings": dataclasses.asdict(self.settings),
            "state": self.state.values,
            "best": dataclasses.asdict(self.best) if self.best else None,
            "best_is_now": self.best_weights is None,
            "metrics_bytes": self.metrics_bytes,
            "seconds": self.seconds,
            "premises": dict(self.resume_fingerprint),
            "threads": self.threads,
        }
        best = {f"{BEST}{name}": value for name, value in (self.best_weights or {}).items()}
        save_checked(path, {**self.state.tensors, **best}, {"checkpoint": json.dumps(values)})

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """Reads it; nothing in the file is run as code.

        Returns:
            None where there is no such file.

        Raises:
            ModelFileError: The file is damaged, or no checkpoint.
        """
        if not path.exists():
            return None
        try:
            metadata, mapped = load_checked(path)
            # Copies: else the run would have the file mapped while it replaces it.
            tensors = {name: value.clone() for name, value in mapped.items()}
            if "checkpoint" not in metadata:
                raise ValueError("its header does not say that it is one")
            values = mapping(json.loads(metadata["checkpoint"]), "the checkpoint")
            if values["format"] != FORMAT:
                raise ValueError(
                    f"its format is {format_value(values['format'])}, and this version of tl reads {FORMAT}"
                )
            best = {name.removeprefix(BEST): value for name, value in tensors.items() if name.startswith(BEST)}
            now = {name: value for name, value in tensors.items() if not name.startswith(BEST)}
            return cls(
                stage=whole_number(values["stage"], "stage"),
                settings=record(StageConfig, values["settings"], "settings"),
                state=StageState.from_json(now, mapping(values["state"], "state")),
                best=record(EvalRecord, values["best"], "best") if values["best"] else None,
                best_weights=None if values["best_is_now"] else best,
                metrics_bytes=whole_number(values["metrics_bytes"], "metrics_bytes"),
                seconds=duration(values["seconds"], "seconds"),
                resume_fingerprint=_premises(values["premises"]),
                threads=_threads(values.get("threads")),
            )
        except KeyError as error:
            raise _unusable(path, f"it lacks {error}") from error
        except (ModelFileError, ValueError, RecursionError) as error:
            raise _unusable(path, str(error)) from error


def _premises(kept: Any) -> dict[str, Any]:
    """The settings, and texts."""
    resume_fingerprint = mapping(kept, "premises")
    mapping(resume_fingerprint.get("settings", {}), "settings of the premises")
    for name, value in resume_fingerprint.items():
        if name != "settings" and not isinstance(value, str):
            raise ValueError(f"the premise {name} is no text")
    return resume_fingerprint


def _threads(kept: Any) -> int | None:
    if kept is not None and not 1 <= whole_number(kept, "threads") <= MAX_THREADS:
        raise ValueError(f"threads must be 1 to {MAX_THREADS}, not {kept}")
    return kept  # type: ignore[no-any-return]  # whole_number gives it back


def _unusable(path: Path, reason: str) -> ModelFileError:
    return ModelFileError(
        f"{path} is no checkpoint that tl can go on from ({reason}). Without it {named('resume')} trains the run from "
        "its beginning."
    )
