"""Recording a run while it trains, so that nothing is lost when it ends early."""

import dataclasses
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from tl_toolkit.errors import RunInterruptedError
from tl_toolkit.events import PROBE, Callback, DecisionEvent, EarlierRecords, EvalRecord, Record, TrainingProgress
from tl_toolkit.io.module_weights import load_weights
from tl_toolkit.io.own_files import CHECKPOINT_FILE, MODEL_FILE
from tl_toolkit.model_file import ModelMetadata, save_model
from tl_toolkit.runs.checkpoint import Checkpoint
from tl_toolkit.runs.folder import resume_command
from tl_toolkit.runs.interrupt import StopRequest
from tl_toolkit.runs.metrics_log import append_metrics, begin_metrics, sync_metrics
from tl_toolkit.stages.context import RunContext
from tl_toolkit.system.processes import anywhere, broadcast, is_first, together
from tl_toolkit.text import named
from tl_toolkit.training.loop import Stage, StageProgress, StepEnd, trained_weights
from tl_toolkit.training.model_selection import evaluations_since_best, is_best
from tl_toolkit.training.plan import StageConfig
from tl_toolkit.training.state import capture_state

CHECKPOINT_SECONDS = 300.0
COST_SHARE = 0.02
"""By default a checkpoint is written after every epoch, and every five minutes within one. Writing checkpoints and the
best weights takes no more than this share of the time: an epoch can be quicker than the writing."""


@dataclass(frozen=True)
class StageContext:
    """A stage within its run.

    Attributes:
        number: Its place in the run, from 0.
        config: Its settings, with every choice made.
        stage: What trains.
        fingerprint: Returns what must be unchanged for the stage to resume exactly.
    """

    number: int
    config: StageConfig
    stage: Stage
    fingerprint: Callable[[], Mapping[str, Any]]


class RunRecorder:
    """Writes metrics, the best weights and checkpoints into a run folder.

    Of several processes the first one writes, and decides what depends on its clock; the others only keep the best
    weights.

    Args:
        folder: The run folder, locked.
        context: What the stages of the run share.
        metadata: What the model file says about the model.
        threads: The number of threads that the run computes with.
        stop: Checked after every step.
        sinks: Receive every record.
        resume_from: The checkpoint that the run resumes from.
        out_of_time: Whether fine-tuning must end now.
        budget_seconds: The seconds until then; None without a time budget.

    Attributes:
        records: Every evaluation so far.
        best: The evaluation whose weights are saved.
    """

    def __init__(
        self,
        folder: Path,
        context: RunContext,
        metadata: ModelMetadata,
        threads: int,
        stop: StopRequest,
        sinks: Sequence[Callable[[Record], None]],
        resume_from: Checkpoint | None,
        out_of_time: Callable[[], bool],
        budget_seconds: Callable[[], float | None],
    ) -> None:
        size = resume_from.metrics_bytes if resume_from else 0
        with together():
            earlier = begin_metrics(folder, size) if is_first() else []
        earlier = broadcast(earlier)
        self.records = [record for record in earlier if isinstance(record, EvalRecord)]
        self.best = resume_from.best if resume_from else None
        self._folder, self._metadata, self._threads = folder, metadata, threads
        self._module, self._config, self._val_images = context.network.module, context.config, len(context.splits.val)
        self._stop, self._sinks, self._out_of_time = stop, sinks, out_of_time
        self._budget_seconds = budget_seconds
        self._started = time.perf_counter() - (resume_from.seconds if resume_from else 0.0)
        self._best_weights = resume_from.weights_of_best() if resume_from else {}
        self._best_is_written = self._best_is_current = False
        self._last_time, self._last_step, self._cost = time.perf_counter(), -1, 0.0
        for record in earlier:
            self._send(record)
        if earlier:
            context.callback(EarlierRecords(tuple(earlier)))

    @property
    def seconds(self) -> float:
        """Seconds of the run, without pauses between its parts."""
        return time.perf_counter() - self._started

    @property
    def best_record(self) -> EvalRecord:
        """The evaluation whose weights are saved."""
        assert self.best is not None  # A stage ends with an evaluation.
        return self.best

    def consume(
        self, events: Iterable[TrainingProgress | Record | StepEnd], place: StageContext, callback: Callback
    ) -> None:
        """Record a stage until it ends.

        Args:
            events: What `fit` yields.
            place: The stage within its run.
            callback: Receives all but the ends of steps.

        Raises:
            RunInterruptedError: The user or the system asked the run to stop.
            ToolkitError: Training or writing failed.
        """
        self._last_step = -1  # Steps count from the beginning of each stage.
        if self.best:  # The best weights include the current values of what this stage trains.
            now = trained_weights(place.stage.module, place.stage.trainable)
            self._best_weights = {**_copies(now), **self._best_weights}
        if self._is_over(place.stage.name):  # The stage had ended when the run was interrupted.
            return
        progress: StageProgress | None = None
        for event in events:
            if isinstance(event, StepEnd):
                progress = event.progress
                self._after_step(place, event)
                if self._is_over(place.stage.name):
                    what = f"{place.stage.name} after step {progress.step:,}"
                    callback(DecisionEvent("stopped", what, self._why_over()))
                    break
                continue
            if isinstance(event, TrainingProgress):
                callback(dataclasses.replace(event, budget_seconds=self._budget_seconds()))
                continue
            callback(event)
            if is_first():
                append_metrics(self._folder, event.to_dict())
            self._send(event)
            if isinstance(event, EvalRecord):
                self.records.append(event)
        if progress:
            self._write_checkpoint(progress, place)

    def write_best(self) -> None:
        """Write the best weights so far to the model file, unless they are there already."""
        if self._best_weights and not self._best_is_written and is_first():
            save_model(self._folder / MODEL_FILE, self._module.state_dict() | self._best_weights, self._metadata)
            self._best_is_written = True

    def restore_best(self) -> None:
        """Load the best weights into the network."""
        load_weights(self._module, self._best_weights, strict=False)  # The rest never changed.

    def _send(self, record: Record) -> None:
        for sink in self._sinks:
            sink(record)

    def _after_step(self, place: StageContext, end: StepEnd) -> None:
        """Save what must be saved between two steps.

        Raises:
            RunInterruptedError: The user or the system asked the run to stop.
        """
        record, progress = end.record, end.progress
        self._best_is_current = False
        if record and is_best(
            record, self.best, self.records, self._config.tune, self._val_images, place.config.gain_images
        ):
            average = progress.average
            self.best, self._best_is_current, self._best_is_written = record, not average, False
            self._best_weights |= _copies(average or trained_weights(place.stage.module, place.stage.trainable))
        is_due = self._is_due(progress.step, bool(record and record.ends_epoch))
        stops, is_due = anywhere(self._stop.requested, is_due and is_first())
        if stops:
            self._write_checkpoint(progress, place)
            steps = len(place.stage.train) * place.stage.epochs
            raise RunInterruptedError(
                f"Stopped after step {progress.step:,} of {steps:,} of the {place.stage.name} stage; all is saved.",
                resume_command(self._folder),
            )
        if is_due:
            self._write_checkpoint(progress, place)

    def _is_over(self, stage: str) -> bool:
        """Return whether a stage ends before its last epoch: val no longer improves, or the time is up."""
        if stage == PROBE:
            return False
        if self.best and self._out_of_time():  # Without any evaluation there would be nothing to save.
            return True
        patience = self._config.patience
        return patience is not None and evaluations_since_best(self.records, stage) >= patience

    def _why_over(self) -> str:
        return named("time_budget") if self._out_of_time() else named("patience", self._config.patience)

    def _is_due(self, step: int, ends_epoch: bool) -> bool:
        """Return whether to write a checkpoint after a step."""
        passed = time.perf_counter() - self._last_time
        if self._config.checkpoint_steps:
            return step % self._config.checkpoint_steps == 0 and step != self._last_step
        if self._config.checkpoint_seconds:
            return passed >= self._config.checkpoint_seconds
        return (ends_epoch or passed >= CHECKPOINT_SECONDS) and passed * COST_SHARE >= self._cost

    def _write_checkpoint(self, progress: StageProgress, place: StageContext) -> None:
        """Write a checkpoint and the best weights; those of a probe are written when the run ends."""
        if not is_first():
            return
        started = time.perf_counter()
        if place.stage.name != PROBE:
            self.write_best()
        Checkpoint(
            stage=place.number,
            settings=place.config,
            state=capture_state(place.stage, progress),
            best=self.best,
            best_weights=None if self._best_is_current else self._best_weights,
            metrics_bytes=sync_metrics(self._folder),
            seconds=self.seconds,
            resume_fingerprint=place.fingerprint(),
            threads=self._threads,
        ).write(self._folder / CHECKPOINT_FILE)
        self._last_time, self._last_step = time.perf_counter(), progress.step
        self._cost = self._last_time - started


def _copies(weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in weights.items()}
