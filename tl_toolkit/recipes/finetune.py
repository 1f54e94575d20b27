"""Fine-tuning: from settings to a run folder, and resuming a run."""

import contextlib
import functools
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from tl_toolkit.config.checks import AUTO
from tl_toolkit.config.config_file import read_config_file
from tl_toolkit.config.finetune import FinetuneConfig
from tl_toolkit.data.workers import report_worker_deaths
from tl_toolkit.errors import RunInterruptedError, ToolkitError, UsageError
from tl_toolkit.events import PROBE, Callback, DecisionEvent, KeptWarnings, log_event
from tl_toolkit.features.extractor import FeatureExtractor
from tl_toolkit.inference.classifier import ImageClassifier
from tl_toolkit.inference.loading import load
from tl_toolkit.io.files import display_path
from tl_toolkit.io.own_files import CHECKPOINT_FILE, CONFIG_FILE
from tl_toolkit.metrics.base import Scores
from tl_toolkit.metrics.predictions import Predictions
from tl_toolkit.model_file import save_model
from tl_toolkit.planning.advance import fit_to_budget
from tl_toolkit.planning.budget import TimeBudget
from tl_toolkit.planning.choices import report_choices
from tl_toolkit.planning.cost import check_budget
from tl_toolkit.planning.run_plan import RunPlan, plan_run, settings_and_data
from tl_toolkit.report.feature_map import with_map
from tl_toolkit.report.tensorboard import open_board
from tl_toolkit.runs.checkpoint import Checkpoint
from tl_toolkit.runs.contention import SlowdownMonitor, warn_if_busy, warn_if_threads_changed
from tl_toolkit.runs.folder import (
    LAST_FILE,
    TENSORBOARD_FOLDER,
    check_new_folder,
    create_run_folder,
    find_run,
    locate_run,
    lock_folder,
    resume_command,
    write_config,
)
from tl_toolkit.runs.imported import refuse_imported
from tl_toolkit.runs.interrupt import StopRequest
from tl_toolkit.runs.recorder import RunRecorder, StageContext
from tl_toolkit.runs.results import RunScores, save_results
from tl_toolkit.runs.resuming import (
    check_fits,
    check_resumable,
    resumed_config,
    resumed_progress,
    resumed_stage_config,
    where_it_resumes,
)
from tl_toolkit.runs.summary import SUMMARY_FILE, read_summary
from tl_toolkit.runs.suspicious_labels import save_suspicious, tell_unchecked
from tl_toolkit.stages.build import build_stage, find_features, stage_fingerprint
from tl_toolkit.stages.novelty import learn_novelty
from tl_toolkit.stages.refit import can_refit, refit_head
from tl_toolkit.stages.scoring import score_split, score_val
from tl_toolkit.stages.sweep import sweep_probe
from tl_toolkit.system.cpu_usage import Usage, usage
from tl_toolkit.system.processes import broadcast, is_first, joined, launched, refuse_difference, together
from tl_toolkit.system.versions import package_versions
from tl_toolkit.text import named
from tl_toolkit.training.loop import StageProgress, fit
from tl_toolkit.training.threads import Threads, torch_threads


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        path: The run folder.
        summary: The content of its summary.json.
        model: The model it saved, read back from the file.
    """

    path: Path
    summary: dict[str, Any]
    model: ImageClassifier


@report_worker_deaths()
def finetune(
    config: FinetuneConfig | None = None,
    *,
    data: Any = None,
    callback: Callback = log_event,
    trust: bool = False,
    started: Usage | None = None,
    **settings: Any,
) -> Run:
    """Fine-tune a pretrained network and write a run folder.

    Args:
        config: The settings as one object, in place of `settings`.
        data: A folder, "digits", "torchvision:NAME", any map-style dataset of (image, target) pairs, or an
            (images, targets) pair of arrays or tensors. By default the digits.
        callback: Receives decisions, warnings and progress; by default they go to the logger "tl_toolkit".
        trust: Read a pickled weights file even if that runs code from it. Not a setting, so a config file cannot
            enable it.
        started: The clock and the CPU usage at the start, from which a time budget counts; by default now.
        settings: The fields of `FinetuneConfig`, which are the flags of `tl finetune`.

    Returns:
        The run: its path, its summary and its model.

    Raises:
        ToolkitError: Anything that keeps the run from finishing; see `tl_toolkit.errors`.
    """
    started = started or usage()
    config, data = settings_and_data(config, data, settings)
    with _joined(config.device, callback) as shown, torch_threads(config.threads) as threads:
        callback = KeptWarnings(shown)
        budget = TimeBudget(config.budget_seconds, started.time, config.report)
        with together():
            if is_first():
                check_new_folder(config.out)
        budget.check_not_spent()
        refuse_difference("versions", package_versions())
        refuse_difference("settings", config.to_resume())
        plan = plan_run(config, data, callback, trust, budget)
        check_budget(plan.context, budget)
        folder = Path()
        with together():
            if is_first():
                folder = create_run_folder(config.out, plan.context.network.arch.name, plan.context.source.name)
        folder = broadcast(folder)
        report_choices(plan, threads, folder)
        warn_if_busy(plan.context.setup, threads, shown, started)  # Of the speed, not of the results.
        with _locked(folder):
            if is_first():
                write_config(folder, plan.context.config.to_yaml(), threads.count)
            return _train_and_save(plan, threads, folder, budget, callback.messages)


@report_worker_deaths()
def resume(
    run: str | Path,
    *,
    data: Any = None,
    callback: Callback = log_event,
    trust: bool = False,
    started: Usage | None = None,
    **changes: Any,
) -> Run:
    """Resume a run that was stopped or killed, from its last checkpoint.

    On the same CPU the result is bit-for-bit that of an uninterrupted run, as long as its images, settings and
    pretrained weights are unchanged.

    Args:
        run: The run folder.
        data: For a run that was trained on Python objects, the same objects; for another, where its images are if they
            have moved.
        callback: See `finetune`.
        trust: See `finetune`.
        started: See `finetune`.
        changes: `epochs`, to train for longer; `workers`; `threads`; `checkpoint_every`; `time_budget`; `data_root`.

    Returns:
        The run; a run that is already finished is returned unchanged.

    Raises:
        UsageError: `run` is not a run folder, or something that it depends on changed.
        ToolkitError: Anything else that keeps the run from finishing.
    """
    started = started or usage()
    if isinstance(data, str | Path):
        changes, data = {**changes, "data": str(data)}, None
    with contextlib.ExitStack() as stack:
        device = read_config_file(find_run(run) / CONFIG_FILE).get("device", AUTO) if launched().is_first else AUTO
        shown = stack.enter_context(_joined(device, callback))
        callback = KeptWarnings(shown)
        folder = locate_run(run)
        refuse_imported(folder)
        stack.enter_context(_locked(folder))
        config, checkpoint, finished = _read_run(folder, changes)
        requested_epochs = config.epochs if "epochs" in changes else None
        if finished and (requested_epochs or 0) <= finished["epochs"]:
            why = f"{display_path(folder)} is finished; {named('epochs', 'N')} trains it for longer"
            callback(DecisionEvent("resume", "nothing to do", why))
            return Run(folder, finished, load(folder))
        if finished and not checkpoint:
            raise UsageError(f"{folder} cannot be trained for longer: it has no {CHECKPOINT_FILE}.")
        previous_threads = checkpoint.threads if checkpoint else None
        before = checkpoint.seconds if checkpoint else 0.0
        budget = TimeBudget(config.budget_seconds, started.time - before, config.report)
        threads = stack.enter_context(torch_threads(config.threads, previous_threads))
        plan = plan_run(config, data, callback, trust, budget)
        if checkpoint:
            check_resumable(checkpoint.resume_fingerprint, plan.context.fingerprint, folder)
            check_fits(checkpoint, plan.context.network.module, len(plan.stages))
        callback(DecisionEvent("resume", display_path(folder), where_it_resumes(checkpoint, plan.stages)))
        report_choices(plan, threads, folder)
        warn_if_threads_changed(plan.context.setup, threads, callback, previous_threads)
        warn_if_busy(plan.context.setup, threads, shown, started)
        if is_first():
            write_config(folder, plan.context.config.to_yaml(), threads.count)
            (folder / SUMMARY_FILE).unlink(missing_ok=True)  # The run is no longer finished.
        return _train_and_save(plan, threads, folder, budget, callback.messages, checkpoint)


@contextlib.contextmanager
def _joined(device: str, callback: Callback) -> Iterator[Callback]:
    """Within the block, the processes that a launcher started form one run.

    Yields:
        What receives events: the callback, and in all processes but the first one nobody.
    """
    with joined(lambda: device in (AUTO, "cuda") and torch.cuda.is_available()) as here:
        yield callback if here.is_first else lambda _: None


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Within the block, no other run can train in a folder; the first process has the lock."""
    with contextlib.ExitStack() as stack:
        with together():
            if is_first():
                stack.enter_context(lock_folder(folder))
        yield


def _read_run(folder: Path, changes: dict[str, Any]) -> tuple[FinetuneConfig, Checkpoint | None, dict[str, Any] | None]:
    """Return the settings, the checkpoint and the results of a run, which the first process reads for all."""
    found = None
    with together():
        if is_first():
            config = resumed_config(folder, changes)
            found = config, Checkpoint.read(folder / CHECKPOINT_FILE), read_summary(folder)
    shared = broadcast(found)
    assert shared is not None  # The first process has read it.
    return shared


def _train_and_save(
    plan: RunPlan,
    threads: Threads,
    folder: Path,
    budget: TimeBudget,
    warnings: Sequence[str],
    checkpoint: Checkpoint | None = None,
) -> Run:
    """Train, score and save, from the beginning or from a checkpoint; `warnings` are kept in the summary.

    Raises:
        RunInterruptedError: The user or the system asked the run to stop.
    """
    context = plan.context
    config, splits, workers = context.config, context.splits, context.images.workers
    stop = StopRequest(context.callback)
    board_folder = folder / TENSORBOARD_FOLDER if config.tensorboard and is_first() else None
    if board_folder and board_folder.exists():  # The recorder sends all earlier records to the new board.
        shutil.rmtree(board_folder)
    try:
        with stop.handle_signals(), open_board(board_folder) as board:
            sinks = [board.add] if board else []
            recorder = RunRecorder(
                folder,
                context,
                plan.metadata,
                threads.count,
                stop,
                sinks,
                checkpoint,
                budget.is_spent,
                budget.seconds_left,
            )
            features = _train(plan, threads, recorder, stop, folder, budget, checkpoint)
            network = context.network
            model = ImageClassifier(network.module, plan.metadata, context.setup, network.head_modules)
            val, of_val = _score_val(plan, model, features, recorder.best_record.stage, budget)
            refitted = can_refit(context, plan.stages[0], recorder.best_record.stage)
            if refitted:  # val is scored before the refit, since the head then learns from it.
                refit_head(context, plan.stages[0])
            test, predictions = None, {"val": of_val}
            if splits.test:
                test, predictions["test"] = score_split(model, "test", splits.test, features, workers)
            predictions = {split: with_map(found) for split, found in predictions.items()}
            scores = RunScores(val, test, refitted, predictions)
            summary: dict[str, Any] = {}
            with together():
                if is_first():
                    summary = save_results(context, folder, model, recorder, scores, threads.count, board, warnings)
            summary = broadcast(summary)
    except KeyboardInterrupt:
        raise RunInterruptedError("Stopped at once.", resume_command(folder)) from None
    return Run(folder, summary, model)


def _score_val(
    plan: RunPlan, model: ImageClassifier, features: FeatureExtractor | None, best_stage: str, budget: TimeBudget
) -> tuple[Scores, Predictions]:
    """Score the model on val, and choose there its temperature or thresholds, and what it calls unknown.

    Returns:
        The scores, and what they were computed from.
    """
    context, workers = plan.context, plan.context.images.workers
    started = time.perf_counter()
    val, of_val = score_val(model, context.splits.val, features, workers, context.callback)
    each = (time.perf_counter() - started) / len(of_val)
    affordable = broadcast(max(0.0, budget.remaining()) / each)
    if features is None and best_stage == PROBE:  # The network is again that of the probe, whose features are stored.
        features = find_features(context, context.network.head_modules)
    learn_novelty(context, model, features, of_val, affordable)
    return val, of_val


def _train(
    plan: RunPlan,
    threads: Threads,
    recorder: RunRecorder,
    stop: StopRequest,
    folder: Path,
    budget: TimeBudget,
    checkpoint: Checkpoint | None,
) -> FeatureExtractor | None:
    """Train the stages, and leave the network with the weights that did best on val.

    Returns:
        The features of the last stage that was trained; None if it trained on images.
    """
    context, network = plan.context, plan.context.network
    on_cpu = context.setup.device.type == "cpu"
    callback = SlowdownMonitor(context.callback, threads, folder) if on_cpu else context.callback
    features = None
    first = checkpoint.stage if checkpoint else 0
    if plan.stages[0].name != PROBE:
        tell_unchecked(context, f"{named('tune', context.config.tune)} trains no linear probe")
    try:
        for number, planned in enumerate(plan.stages[first:], start=first):
            resume_from = checkpoint if checkpoint and number == first else None
            if resume_from:
                config = resumed_stage_config(resume_from, planned, context.config)
            else:
                affordable = fit_to_budget(context, plan.stages, number, recorder.records, budget)
                if affordable is None:
                    continue
                config = affordable
                recorder.restore_best()  # A stage begins with the best of those before it.
            with build_stage(context, config, resume_from.state if resume_from else None) as built:
                if config.name == PROBE and context.config.probe_learning_rate == AUTO and not resume_from:
                    built = sweep_probe(context, built)
                features = built.features
                fingerprint = functools.partial(stage_fingerprint, context, built)
                device = context.setup.device
                if resume_from:
                    progress = resumed_progress(resume_from, built.stage, fingerprint, folder, device)
                else:
                    progress = StageProgress(device)
                stage_context = StageContext(number, built.config, built.stage, fingerprint)
                with stop.checked_after_steps():
                    recorder.consume(fit(built.stage, context.accelerator, progress), stage_context, callback)
                if config.name == PROBE:
                    save_suspicious(context, built, folder)
    except BaseException:
        with contextlib.suppress(ToolkitError):  # Keep what was learned, and raise the original error.
            recorder.write_best()
        raise
    with together():
        if is_first():
            save_model(folder / LAST_FILE, network.module.state_dict(), plan.metadata)
    recorder.restore_best()
    network.module.eval()
    return features
