"""Fine-tuning, from a config to a run folder: the main job of the toolkit."""

import contextlib
import dataclasses
import functools
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from tl_toolkit.config.choices import RESUMABLE
from tl_toolkit.config.finetune import FinetuneConfig, is_data_path, read_config_file
from tl_toolkit.data.prepare import Splits
from tl_toolkit.data.seen_images import note_refit, seen_in_split
from tl_toolkit.data.workers import report_worker_deaths
from tl_toolkit.errors import ModelFileError, RunInterruptedError, ToolkitError, UsageError
from tl_toolkit.events import Callback, DecisionEvent, EvalRecord, FileWritten, WarningEvent, log_event
from tl_toolkit.export.weights import export
from tl_toolkit.inference.classifier import ImageClassifier
from tl_toolkit.inference.loading import load
from tl_toolkit.inference.scoring import class_accuracy
from tl_toolkit.io.files import display_path, expand_path, is_folder
from tl_toolkit.io.own_files import CHECKPOINT_FILE, CONFIG_FILE, METRICS_FILE, MODEL_FILE
from tl_toolkit.metrics.classification import Scores
from tl_toolkit.model_file import save_model
from tl_toolkit.planning.advance import fit_to_budget
from tl_toolkit.planning.budget import TimeBudget
from tl_toolkit.planning.cost import check_budget
from tl_toolkit.recipes.job import PreparedRun, prepare_job, report_choices, versions
from tl_toolkit.report.curves import Curve, draw_curves
from tl_toolkit.report.sample_images import sample_pictures
from tl_toolkit.report.tensorboard import TensorBoard, open_board
from tl_toolkit.runs.checkpoint import Checkpoint
from tl_toolkit.runs.contention import PaceWatch, warn_of_other_bits, warn_of_others
from tl_toolkit.runs.fingerprint import check_resumable
from tl_toolkit.runs.folder import (
    CURVES_FILE,
    FULL_MODEL_FILE,
    LAST_FILE,
    STATE_DICT_FILE,
    TENSORBOARD_FOLDER,
    check_out,
    create_run_folder,
    find_run,
    locked,
    resume_command,
    write_bad_images,
    write_config,
)
from tl_toolkit.runs.interrupt import StopRequest
from tl_toolkit.runs.recorder import RunRecorder, StageContext
from tl_toolkit.runs.summary import SUMMARY_FILE, read_summary, write_summary
from tl_toolkit.stages.build import build_stage
from tl_toolkit.stages.refit import refit_head, why_not_refit
from tl_toolkit.system.cpu_usage import Usage, usage
from tl_toolkit.text import named
from tl_toolkit.training.loop import Stage, StageProgress, fit
from tl_toolkit.training.plan import StageConfig, best_records
from tl_toolkit.training.state import check_weights, restore_position, restore_random
from tl_toolkit.training.threads import computing_with

METRICS = ("val_accuracy", "val_loss", "test_accuracy", "val_images", "test_images")
EXPORT_FILES = {"state-dict": STATE_DICT_FILE, "full-model": FULL_MODEL_FILE}


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
    config: FinetuneConfig,
    data: Any = None,
    callback: Callback = log_event,
    *,
    trust: bool = False,
    started: Usage | None = None,
) -> Run:
    """Fine-tunes a pretrained network and writes everything needed to use it to a new folder.

    Args:
        config: The settings.
        data: Images as Python objects, in place of the config's `data`.
        callback: Told of choices, warnings and progress.
        trust: Read a weights file even where code that is in it would run. No setting, so that no config file says it.
        started: When a time budget begins to count, and what had been computed then; by default now.

    Raises:
        ToolkitError: Anything that keeps the run from going on; see `tl_toolkit.errors`.
    """
    started = started or usage()
    budget = TimeBudget(config.budget_seconds, started.time)
    check_out(config.out)
    budget.check_not_spent()
    with computing_with(config.threads) as threads:
        job = prepare_job(config, data, callback, trust, budget, threads)
        check_budget(job.bench, budget)
        folder = create_run_folder(config.out, job.bench.network.arch.name, job.source.name)
        report_choices(job, folder)
        warn_of_others(job.bench.compute, threads, callback, started)
        with locked(folder):
            write_config(folder, job.config.to_yaml(), threads.count)
            return _run(job, folder, None, budget)


@report_worker_deaths()
def resume(
    run: str | Path,
    changes: Mapping[str, Any],
    data: Any = None,
    callback: Callback = log_event,
    *,
    trust: bool = False,
    started: Usage | None = None,
) -> Run:
    """Goes on with a run that was stopped or killed, to the weights that it would have had without the break.

    Args:
        run: Its folder.
        changes: Settings that may be given anew, those of `RESUMABLE`.
        data: The same Python objects as before, if the run was given any.
        callback: Told of choices, warnings and progress.
        trust: See `finetune`.
        started: Likewise.

    Raises:
        UsageError: It is no run, or something changed that it depends on.
        ToolkitError: Anything else that keeps the run from going on.
    """
    folder = find_run(run)
    with locked(folder), contextlib.ExitStack() as stack:
        config = _resumed_config(folder, changes)
        checkpoint = Checkpoint.read(folder / CHECKPOINT_FILE)
        finished = read_summary(folder)
        longer = config.epochs if "epochs" in changes else None
        if finished and (longer or 0) <= finished["epochs"]:
            why = f"{display_path(folder)} is finished; {named('epochs', 'N')} trains it for longer"
            callback(DecisionEvent("resume", "nothing to do", why))
            return Run(folder, finished, load(folder))
        if finished and not checkpoint:
            raise UsageError(f"{folder} cannot be trained for longer: it has no {CHECKPOINT_FILE}.")
        before = checkpoint.seconds if checkpoint else 0.0
        started = started or usage()
        budget = TimeBudget(config.budget_seconds, started.time - before)
        threads = stack.enter_context(computing_with(config.threads, checkpoint.threads if checkpoint else None))
        job = prepare_job(config, data, callback, trust, budget, threads)
        if checkpoint:
            check_resumable(checkpoint.resume_fingerprint, job.bench.resume_fingerprint(), folder)
            _check_fits(checkpoint, job)
        callback(DecisionEvent("resume", display_path(folder), _where_it_goes_on(job, checkpoint)))
        report_choices(job, folder)
        warn_of_other_bits(job.bench.compute, threads, callback, checkpoint.threads if checkpoint else None)
        warn_of_others(job.bench.compute, threads, callback, started)
        write_config(folder, job.config.to_yaml(), threads.count)
        (folder / SUMMARY_FILE).unlink(missing_ok=True)  # It is no longer finished.
        return _run(job, folder, checkpoint, budget)


def _run(job: PreparedRun, folder: Path, checkpoint: Checkpoint | None, budget: TimeBudget) -> Run:
    """Trains, judges and writes, whether from the beginning or from a checkpoint.

    Raises:
        StoppedError: The user, or the system, asked for it.
    """
    config, bench, splits = job.config, job.bench, job.bench.splits
    stopping = StopRequest(job.callback)
    board_folder = folder / TENSORBOARD_FOLDER if config.tensorboard else None
    if board_folder and board_folder.exists():  # All records are shown to the new one.
        shutil.rmtree(board_folder)
    try:
        with stopping.heard(), open_board(board_folder) as board:
            keeper = RunRecorder(
                folder,
                bench.network.module,
                job.metadata,
                config,
                stopping,
                board,
                checkpoint,
                len(splits.val),
                job.threads.count,
                budget.is_spent,
            )
            _train(job, keeper, stopping, folder, checkpoint, budget)
            model = ImageClassifier(bench.network.module, job.metadata, bench.compute)
            val = bench.score(model, "val", splits.val)
            refits = not why_not_refit(bench, job.stages[0], keeper.best_record.stage)
            if refits:
                refit_head(bench, job.stages[0])
            test = bench.score(model, "test", splits.test) if splits.test else None
            if board:
                _show_on_board(board, model, config, splits, val, test, job.callback)
            note = note_refit(job.metadata.split_note) if refits else job.metadata.split_note
            outcome = {
                "val_images_seen": seen_in_split(note, "val"),
                "test_images_seen": seen_in_split(note, "test"),
                "val_accuracy": val.accuracy,
                "val_loss": val.loss,
                "test_accuracy": test.accuracy if test else None,
                "class_accuracy": class_accuracy(test or val, job.source.class_names),
                "best_stage": keeper.best_record.stage,
                "best_epoch": keeper.best_record.epoch,
                "refit_on_val": refits,
                "stages": {
                    stage: {"val_accuracy": best.val_accuracy, "epoch": best.epoch}
                    for stage, best in best_records(keeper.records).items()
                },
                "train_loss": keeper.records[-1].train_loss,
                "seconds": round(keeper.seconds, 2),
                "images_per_second": round(_images_per_second(keeper.records), 1),
            }
            summary = _summary(job, folder, keeper.records[-1].epochs, outcome)
            metrics = {key: summary[key] for key in METRICS}
            model.metadata = dataclasses.replace(job.metadata, metrics=metrics, split_note=note)
            _write_results(job, folder, model, summary, keeper.records)
    except KeyboardInterrupt:
        raise RunInterruptedError("Stopped at once.", resume_command(folder)) from None
    return Run(folder, summary, model)


def _train(
    job: PreparedRun,
    keeper: RunRecorder,
    stopping: StopRequest,
    folder: Path,
    checkpoint: Checkpoint | None,
    budget: TimeBudget,
) -> None:
    """Runs the stages; then the network holds the best weights by val that there have been."""
    bench = job.bench
    on_cpu = bench.compute.device.type == "cpu"
    callback = PaceWatch(job.callback, job.threads, folder) if on_cpu else job.callback
    first = checkpoint.stage if checkpoint else 0
    try:
        for number, planned in enumerate(job.stages[first:], start=first):
            begun = checkpoint if checkpoint and number == first else None
            if begun:
                settings = _resumed_settings(begun, planned, job.config)
            else:
                chosen = fit_to_budget(bench, planned, keeper.records, budget)
                if chosen is None:
                    continue
                settings = chosen
                keeper.take_best()  # A stage begins with the best of those before it.
            with build_stage(bench, settings, begun.state if begun else None) as (stage, settings):
                resume_fingerprint = functools.partial(bench.resume_fingerprint, stage.trainable)
                position = StageProgress(bench.compute.device)
                if begun:
                    check_resumable(begun.resume_fingerprint, resume_fingerprint(), folder)
                    position = restore_position(begun.state, bench.network.module, bench.compute.device)
                    _check_epochs(stage, position)
                    restore_random(begun.state)
                place = StageContext(number, settings, stage, resume_fingerprint)
                with stopping.between_steps():
                    keeper.consume(fit(stage, bench.accelerator, position), place, callback)
    except BaseException:
        with contextlib.suppress(ToolkitError):  # What was learned is there to use, but why training ended is told.
            keeper.write_best()
        raise
    save_model(folder / LAST_FILE, bench.network.module.state_dict(), job.metadata)
    keeper.take_best()
    bench.network.module.eval()


def _resumed_settings(begun: Checkpoint, planned: StageConfig, config: FinetuneConfig) -> StageConfig:
    """The settings of a stage that goes on: those that it had, with more epochs where the user gave more.

    Raises:
        UsageError: The run has other stages than this version of tl would give it.
    """
    if begun.settings.name != planned.name:
        raise UsageError(
            f"The checkpoint is one of a {begun.settings.name} stage, but this version of tl has {planned.name} "
            "there: another version wrote it. Train a new run with its config.yaml."
        )
    if config.epochs is None or config.time_budget or begun.settings.optimizer != planned.optimizer:
        return begun.settings  # What was chosen when the stage began stands.
    return dataclasses.replace(begun.settings, epochs=planned.epochs)


def _resumed_config(folder: Path, changes: Mapping[str, Any]) -> FinetuneConfig:
    """The settings of a run, with what is given anew.

    Raises:
        UsageError: A setting may not change, or the file is damaged.
    """
    fixed = [name for name in changes if name not in RESUMABLE]
    if fixed:
        kept, free = (", ".join(named(name) for name in names) for names in (fixed, sorted(RESUMABLE)))
        raise UsageError(
            f"A run that goes on keeps its settings, those of its {CONFIG_FILE}: {kept} cannot be given "
            f"anew, only {free}. For other settings, train a new run."
        )
    config = FinetuneConfig.from_values(read_config_file(folder / CONFIG_FILE), changes)
    if is_data_path(config.data) and "data" not in changes and not is_folder(expand_path(config.data)):
        raise UsageError(
            f"The images of {folder} are not where they were: there is no folder {config.data}. Say with "
            f"{named('data')} where they are now; they must be the same ones."
        )
    return config


def _check_epochs(stage: Stage, position: StageProgress) -> None:
    done = position.epoch(len(stage.train))
    if done > stage.epochs:
        raise UsageError(
            f"The run has come to epoch {done} of the {stage.name} stage: {named('epochs')} must be {done} or more."
        )


def _check_fits(checkpoint: Checkpoint, job: PreparedRun) -> None:
    if checkpoint.stage >= len(job.stages):
        raise ModelFileError(
            f"The checkpoint is one of stage {checkpoint.stage + 1}, but the run has {len(job.stages)}. Without its "
            f"{CHECKPOINT_FILE} {named('resume')} trains the run from its beginning."
        )
    check_weights(job.bench.network.module, checkpoint.weights_of_best())


def _where_it_goes_on(job: PreparedRun, checkpoint: Checkpoint | None) -> str:
    if checkpoint is None:
        return "from its beginning: it has no checkpoint yet"
    return f"after step {checkpoint.state.step:,} of the {job.stages[checkpoint.stage].name} stage"


def _summary(job: PreparedRun, folder: Path, epochs: int, outcome: dict[str, Any]) -> dict[str, Any]:
    """What was trained on what, and what came of it: the content of summary.json."""
    config, source, bench = job.config, job.source, job.bench
    network, splits, compute = bench.network, bench.splits, bench.compute
    return {
        "run": str(folder),
        "model": str(folder / MODEL_FILE),
        "arch": str(network.arch),
        "weights": network.origin,
        "data": config.data,
        "classes": len(source.class_names),
        "class_names": list(source.class_names),
        "head": config.head,
        "loss": config.resolved_loss,
        "tune": config.tune,
        "seed": config.seed,
        "epochs": epochs,
        "train_images": len(splits.train),
        "val_images": len(splits.val),
        "test_images": len(splits.test or ()),
        **outcome,
        "precision": compute.precision,
        "device": str(compute.device),
        "threads": job.threads.count,
        "bad_images": [dataclasses.asdict(image) for image in splits.bad],
        "dropped_images": [dataclasses.asdict(image) for image in splits.dropped],
        "versions": versions(),
    }


def _show_on_board(
    board: TensorBoard,
    model: ImageClassifier,
    config: FinetuneConfig,
    splits: Splits,
    val: Scores,
    test: Scores | None,
    callback: Callback,
) -> None:
    """Adds to TensorBoard what is known at the end: sample images with predictions, the graph, the results."""
    board.add_pictures(sample_pictures(model, splits.test or splits.val, config.seed))
    spec = model.input_spec
    blank = torch.zeros(1, spec.channels, spec.height, spec.width, device=model.compute.device)
    problem = board.add_graph(model.module, blank)
    if problem:
        callback(WarningEvent(f"TensorBoard has no graph of this network: {problem}"))
    metrics = {"val_accuracy": val.accuracy, "val_loss": val.loss}
    board.add_results(config.to_dict(), metrics | ({"test_accuracy": test.accuracy} if test else {}))


def _write_results(
    job: PreparedRun, folder: Path, model: ImageClassifier, summary: dict[str, Any], records: list[EvalRecord]
) -> None:
    """Writes what a finished run adds to its folder, and tells what is there."""
    callback, config, splits = job.callback, job.config, job.bench.splits
    save_model(folder / MODEL_FILE, model.module.state_dict(), model.metadata)
    callback(FileWritten(folder / MODEL_FILE, "the best weights by val, class names and preprocessing"))
    callback(FileWritten(folder / LAST_FILE, "the weights of the last epoch"))
    for form in dict.fromkeys(config.save):
        path = folder / EXPORT_FILES[form]
        export(model.module, model.metadata, form, path, replace=True)
        callback(FileWritten(path, f"the best weights as a {form}"))
    if left_out := [*splits.bad, *splits.dropped]:
        callback(FileWritten(write_bad_images(folder, left_out), "the images that were left out"))
    curves = [Curve(f"{summary['arch']} on {summary['data']}", records)]
    draw_curves(curves, folder / CURVES_FILE)
    callback(FileWritten(folder / CURVES_FILE, "loss and accuracy over the epochs"))
    callback(FileWritten(folder / CONFIG_FILE, "the settings, to run again"))
    callback(FileWritten(folder / METRICS_FILE, "a line for each evaluation"))
    longer = f"all that {named('resume')} needs to train for more {named('epochs')}"
    callback(FileWritten(folder / CHECKPOINT_FILE, longer))
    if config.tensorboard:
        callback(FileWritten(folder / TENSORBOARD_FOLDER, f"tensorboard --logdir {folder}"))
    # The last: a run that has it is finished.
    callback(FileWritten(write_summary(folder, summary), "the results"))


def _images_per_second(records: list[EvalRecord]) -> float:
    """Of the last stage as a whole."""
    last = [record for record in records if record.stage == records[-1].stage]
    return sum(record.images for record in last) / sum(record.images / record.images_per_second for record in last)
