"""checkpoint.safetensors: everything that a run needs to go on from where it was."""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from safetensors import SafetensorError, safe_open

from tl_toolkit.errors import ModelFileError
from tl_toolkit.recipes.plan import Settings
from tl_toolkit.tensor_files import write_tensors
from tl_toolkit.training.checkpoint import StageState
from tl_toolkit.training.loop import EvalRecord

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
        premises: What must still be the same when the run goes on, by name.
    """

    stage: int
    settings: Settings
    state: StageState
    best: EvalRecord | None
    best_weights: Mapping[str, torch.Tensor] | None
    metrics_bytes: int
    seconds: float
    premises: Mapping[str, Any]

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
            "premises": dict(self.premises),
        }
        best = {f"{BEST}{name}": value for name, value in (self.best_weights or {}).items()}
        write_tensors(path, {**self.state.tensors, **best}, {"checkpoint": json.dumps(values)})

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
            with safe_open(path, framework="pt") as file:
                values = json.loads((file.metadata() or {})["checkpoint"])
                # Copies: else the run would have the file mapped while it replaces it.
                tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
            if values["format"] != FORMAT:
                raise ValueError(f"its format is {values['format']!r}, and this version of tl reads {FORMAT}")
            best = {name.removeprefix(BEST): value for name, value in tensors.items() if name.startswith(BEST)}
            now = {name: value for name, value in tensors.items() if not name.startswith(BEST)}
            return cls(
                stage=int(values["stage"]),
                settings=Settings(**values["settings"]),
                state=StageState(now, dict(values["state"])),
                best=EvalRecord(**values["best"]) if values["best"] else None,
                best_weights=None if values["best_is_now"] else best,
                metrics_bytes=int(values["metrics_bytes"]),
                seconds=float(values["seconds"]),
                premises=dict(values["premises"]),
            )
        except (SafetensorError, OSError, KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
            raise ModelFileError(
                f"{path} is no checkpoint that tl can go on from ({error}). Without it --resume trains the run from "
                "its beginning."
            ) from error
