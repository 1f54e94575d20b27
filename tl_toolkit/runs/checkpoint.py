"""checkpoint.safetensors: everything that a run needs to resume."""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Self

import msgspec
import torch

from tl_toolkit.config.choices import MAX_THREADS
from tl_toolkit.errors import ModelFileError
from tl_toolkit.events import EvalRecord
from tl_toolkit.io.json_validation import Count, JsonObject, Seconds, convert, parse_dataclass, parse_json
from tl_toolkit.io.safetensors_file import load_checked, save_checked
from tl_toolkit.text import format_value, named
from tl_toolkit.training.plan import StageConfig
from tl_toolkit.training.state import StageState

FORMAT = 1
BEST = "best."


class _Values(msgspec.Struct):
    """The JSON of a checkpoint."""

    stage: Count
    settings: JsonObject
    state: JsonObject
    best: JsonObject | None
    best_is_now: bool
    metrics_bytes: Count
    seconds: Seconds
    premises: JsonObject
    threads: Annotated[int, msgspec.Meta(ge=1, le=MAX_THREADS)] | None = None

    def __post_init__(self) -> None:
        for name, value in self.premises.items():
            if not isinstance(value, dict if name == "settings" else str):
                raise ValueError(f"premises.{name} is of the wrong type")


@dataclass(frozen=True)
class Checkpoint:
    """A run between two steps.

    Attributes:
        stage: Index of the stage in the run.
        settings: Settings of the stage, with the values chosen in the run.
        state: State of the stage.
        best: The best evaluation so far.
        best_weights: The part of the state_dict at the best evaluation that differs from now; None if nothing differs.
        metrics_bytes: Length of metrics.jsonl.
        seconds: Training seconds of the run, excluding pauses.
        resume_fingerprint: What must not change before the run resumes, by name.
        threads: Threads that the run computed with; None in files of earlier versions.
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
        """Return the weights of the best evaluation; weights that never trained are left out."""
        if not self.best:
            return {}
        return dict(self.state.weights() if self.best_weights is None else self.best_weights)

    def write(self, path: Path) -> None:
        """Write the file atomically.

        Raises:
            ToolkitError: The disk is full or cannot be written.
        """
        values = {
            "format": FORMAT,
            "stage": self.stage,
            "settings": dataclasses.asdict(self.settings),
            "state": self.state.values,
            "best": self.best.to_dict() if self.best else None,
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
        """Read the file without running any code in it.

        Returns:
            The checkpoint, or None if the file does not exist.

        Raises:
            ModelFileError: The file is damaged, or not a checkpoint.
        """
        if not path.exists():
            return None
        try:
            metadata, mapped = load_checked(path)
            if "checkpoint" not in metadata:
                raise ValueError("its header does not say that it is one")
            # Copies: a run must not map the file that it replaces.
            tensors = {name: value.clone() for name, value in mapped.items()}
            found = convert(parse_json(metadata["checkpoint"]), JsonObject)
            if found.get("format") != FORMAT:
                raise ValueError(
                    f"its format is {format_value(found.get('format'))}, and this version of tl reads {FORMAT}"
                )
            values: _Values = convert(found, _Values)
            best = {name.removeprefix(BEST): value for name, value in tensors.items() if name.startswith(BEST)}
            now = {name: value for name, value in tensors.items() if not name.startswith(BEST)}
            return cls(
                stage=values.stage,
                settings=parse_dataclass(StageConfig, values.settings, "settings"),
                state=StageState.from_json(now, values.state),
                best=parse_dataclass(EvalRecord, values.best, "best") if values.best else None,
                best_weights=None if values.best_is_now else best,
                metrics_bytes=values.metrics_bytes,
                seconds=values.seconds,
                resume_fingerprint=values.premises,
                threads=values.threads,
            )
        except (ModelFileError, KeyError, ValueError, RecursionError) as error:
            reason = f"it lacks {error}" if isinstance(error, KeyError) else error
            raise ModelFileError(
                f"{path} is not a checkpoint that tl can resume from ({reason}). Without it {named('resume')} trains "
                "the run from its beginning."
            ) from error
