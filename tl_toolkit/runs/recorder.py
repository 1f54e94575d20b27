"""What a run keeps of itself while it trains, so that nothing is lost when it ends early."""

import dataclasses
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tl_toolkit.config.finetune import FinetuneConfig
from tl_toolkit.errors import RunInterruptedError
from tl_toolkit.events import PROBE, Callback, DecisionEvent, EvalRecord, Record, TrainingProgress
from tl_toolkit.io.own_files import CHECKPOINT_FILE, MODEL_FILE
from tl_toolkit.model_file import ModelMetadata, save_model
from tl_toolkit.report.tensorboard import TensorBoard
from tl_toolkit.runs.checkpoint import Checkpoint
from tl_toolkit.runs.folder import resume_command
from tl_toolkit.runs.interrupt import StopRequest
from tl_toolkit.runs.metrics_log import append_metrics, begin_metrics, sync_metrics
from tl_toolkit.text import named
from tl_toolkit.training.loop import Stage, StepEnd, trained_weights
from tl_toolkit.training.model_selection import is_best
from tl_toolkit.training.plan import StageConfig
from tl_toolkit.training.state import capture_state

CHECKPOINT_SECONDS = 300.0
COST_SHARE = 0.02
"""By default a checkpoint is written after every epoch, and every five minutes within one; but writing them, and the
best weights with them, takes no more than this share of the time: an epoch can be quicker than the writing."""


@dataclass(frozen=True)
class StageContext:
    """A stage within its run.

    Attributes:
        number: Which it is, from 0.
        settings: What was planned and chosen for it.
        stage: What trains.
        resume_fingerprint: Tells what must still be the same when the run goes on.
    """

    number: int
    settings: StageConfig
    stage: Stage
    resume_fingerprint: Callable[[], Mapping[str, Any]]


class RunRecorder:
    """Writes metrics, the best weights and checkpoints into a run folder.

    Args:
        folder: The run folder, locked.
        module: The network.
        metadata: Describes the model.
        config: Says when to write checkpoints.
        stopping: Asked after every step.
        board: Shown every record, where there is one.
        begun: Where the run goes on from.
        val_images: How many images val has.
        threads: That the run computes with.
        out_of_time: Whether fine-tuning must end now.

    Attributes:
        records: Every evaluation so far.
        best: The best of them.
    """

    def __init__(
        self,
        folder: Path,
        module: nn.Module,
        metadata: ModelMetadata,
        config: FinetuneConfig,
        stopping: StopRequest,
        board: TensorBoard | None,
        begun: Checkpoint | None,
        val_images: int,
        threads: int,
        out_of_time: Callable[[], bool] = lambda: False,
    ) -> None:
        self._out_of_time = out_of_time
        self._val_images = val_images
        self._threads = threads
        told = begin_metrics(folder, begun.metrics_bytes if begun else 0)
        self.records = [record for record in told if isinstance(record, EvalRecord)]
        self.best = begun.best if begun else None
        self._folder = folder
        self._module = module
        self._card = metadata
        self._config = config
        self._stopping = stopping
        self._board = board
        self._started = time.perf_counter() - (begun.seconds if begun else 0.0)
        self._best_weights = begun.weights_of_best() if begun else {}
        self._best_is_written = self._best_is_now = False
        self._last_time, self._last_step, self._cost = time.perf_counter(), -1, 0.0
        for record in told if board else ():
            board.add(record)  # type: ignore[union-attr]  # not None here

    @property
    def seconds(self) -> float:
        """That the run has taken, without what lay between its parts."""
        return time.perf_counter() - self._started

    @property
    def best_record(self) -> EvalRecord:
        """The evaluation whose weights are kept."""
        assert self.best is not None  # A stage ends with one.
        return self.best

    def consume(
        self, events: Iterable[TrainingProgress | Record | StepEnd], place: StageContext, callback: Callback
    ) -> None:
        """Keeps what a stage shows until it is over.

        Args:
            events: What `fit` yields.
            place: Which stage it is.
            callback: Told of all but steps.

        Raises:
            StoppedError: The user, or the system, asked for it.
            ToolkitError: Training or writing failed.
        """
        self._last_step = -1  # Steps are counted anew in each stage.
        if self.best:  # What this stage is going to change belongs to the best weights as it is now.
            self._best_weights = {**_copies(trained_weights(place.stage)), **self._best_weights}
        judged: EvalRecord | None = None
        stepped: StepEnd | None = None
        if self._is_over(place.stage.name):  # It was, and the run was stopped before the next stage.
            return
        for told in events:
            if isinstance(told, StepEnd):
                stepped = told
                self._look_after(stepped, place, judged)
                judged = None
                if self._is_over(place.stage.name):
                    callback(
                        DecisionEvent(
                            "stopped", f"{place.stage.name} after step {stepped.position.step:,}", self._why_over()
                        )
                    )
                    break
                continue
            callback(told)
            if isinstance(told, TrainingProgress):
                continue
            append_metrics(self._folder, dataclasses.asdict(told))
            if self._board:
                self._board.add(told)
            if isinstance(told, EvalRecord):
                self.records.append(told)
                judged = told
        if stepped:
            self._keep(stepped, place)

    def _why_over(self) -> str:
        return named("time_budget") if self._out_of_time() else named("patience", self._config.patience)

    def write_best(self) -> None:
        """Writes the best weights so far to the model file, where they are not there yet."""
        if self._best_weights and not self._best_is_written:
            save_model(self._folder / MODEL_FILE, self._module.state_dict() | self._best_weights, self._card)
            self._best_is_written = True

    def take_best(self) -> None:
        """Gives the network its best weights."""
        self._module.load_state_dict(self._best_weights, strict=False)  # The rest never changed.

    def _look_after(self, now: StepEnd, place: StageContext, judged: EvalRecord | None) -> None:
        """Keeps what must be kept between two steps.

        Raises:
            StoppedError: Asked for.
        """
        self._best_is_now = False
        if judged and is_best(judged, self.best, self.records, self._config.tune, self._val_images):
            average = now.position.average
            self.best, self._best_is_now, self._best_is_written = judged, not average, False
            self._best_weights |= _copies(average or trained_weights(now.stage))
        if self._stopping.asked:
            self._keep(now, place)
            steps = len(now.stage.train) * now.stage.epochs
            raise RunInterruptedError(
                f"Stopped after step {now.position.step:,} of {steps:,} of the {now.stage.name} stage; all is kept.",
                resume_command(self._folder),
            )
        if self._is_due(now.position.step, bool(judged and judged.ends_epoch)):
            self._keep(now, place)

    def _is_over(self, stage: str) -> bool:
        """Whether a stage ends before its last epoch: val no longer improves, or the time is up."""
        if stage == PROBE:
            return False
        if self.best and self._out_of_time():  # Without any evaluation there would be nothing to save.
            return True
        return self._config.patience is not None and self._stale(stage) >= self._config.patience

    def _stale(self, stage: str) -> int:
        """Evaluations of a stage since its best one."""
        records = [record for record in self.records if record.stage == stage]
        best = max(
            range(len(records)), key=lambda index: (records[index].val_accuracy, -records[index].val_loss), default=0
        )
        return len(records) - 1 - best if records else 0

    def _is_due(self, step: int, epoch_over: bool) -> bool:
        passed = time.perf_counter() - self._last_time
        if self._config.checkpoint_steps:
            return step % self._config.checkpoint_steps == 0 and step != self._last_step
        if self._config.checkpoint_seconds:
            return passed >= self._config.checkpoint_seconds
        return (epoch_over or passed >= CHECKPOINT_SECONDS) and passed * COST_SHARE >= self._cost

    def _keep(self, now: StepEnd, place: StageContext) -> None:
        """Writes a checkpoint, and the best weights; those of a probe are written when the run has ended."""
        began = time.perf_counter()
        if now.stage.name != PROBE:
            self.write_best()
        Checkpoint(
            stage=place.number,
            settings=place.settings,
            state=capture_state(now.stage, now.position),
            best=self.best,
            best_weights=None if self._best_is_now else self._best_weights,
            metrics_bytes=sync_metrics(self._folder),
            seconds=self.seconds,
            resume_fingerprint=place.resume_fingerprint(),
            threads=self._threads,
        ).write(self._folder / CHECKPOINT_FILE)
        self._last_time, self._last_step = time.perf_counter(), now.position.step
        self._cost = self._last_time - began


def _copies(weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in weights.items()}
