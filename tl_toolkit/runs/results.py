"""The results of a run: its summary, and the files that it leaves in its folder."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from tl_toolkit.config.choices import Task
from tl_toolkit.data.seen_images import note_refit, seen_in_split
from tl_toolkit.data.targets import count_classes
from tl_toolkit.events import EvalRecord, FileWritten, WarningEvent
from tl_toolkit.exports.base import export_format
from tl_toolkit.exports.images import check_images_of
from tl_toolkit.exports.writing import export_model
from tl_toolkit.inference.classifier import ImageClassifier
from tl_toolkit.io.own_files import CHECKPOINT_FILE, CONFIG_FILE, METRICS_FILE, MODEL_FILE
from tl_toolkit.metrics.base import SCORE_OF, Scores
from tl_toolkit.metrics.predictions import Predictions
from tl_toolkit.model_file import save_model
from tl_toolkit.report.curves import Curve, draw_curves
from tl_toolkit.report.sample_images import sample_images
from tl_toolkit.report.tensorboard import TensorBoard
from tl_toolkit.runs.folder import (
    CURVES_FILE,
    LAST_FILE,
    TENSORBOARD_FOLDER,
    write_bad_images,
)
from tl_toolkit.runs.model_card import write_model_card
from tl_toolkit.runs.predictions_file import PREDICTIONS_FILE, save_predictions
from tl_toolkit.runs.recorder import RunRecorder
from tl_toolkit.runs.report_file import report_run
from tl_toolkit.runs.report_material import finished_material
from tl_toolkit.runs.summary import write_summary
from tl_toolkit.stages.context import RunContext
from tl_toolkit.system.versions import package_versions
from tl_toolkit.text import named
from tl_toolkit.training.plan import best_records

METRICS: Mapping[Task, tuple[str, ...]] = {
    task: (f"val_{score}", "val_loss", f"test_{score}", "val_images", "test_images") for task, score in SCORE_OF.items()
}
"""What the model file says of the results."""

SAVE_CHECKED = 8
"""Images of val that each file of --save is compared on."""


@dataclass(frozen=True)
class RunScores:
    """How a finished run does.

    Attributes:
        val: Scores on val.
        test: Scores on test, if the data has one.
        refit_on_val: Whether the head was then solved on train and val together.
        predictions: What the model gives for the images of val, before that, and of test.
    """

    val: Scores
    test: Scores | None
    refit_on_val: bool
    predictions: Mapping[str, Predictions]


def save_results(
    context: RunContext,
    folder: Path,
    model: ImageClassifier,
    recorder: RunRecorder,
    scores: RunScores,
    threads: int,
    board: TensorBoard | None,
    warnings: Sequence[str] = (),
) -> dict[str, Any]:
    """Write what a finished run adds to its folder, and report the files.

    Args:
        context: What the stages of the run share.
        folder: The run folder.
        model: The model with the best weights; its metadata gets the results.
        recorder: Knows the evaluations.
        scores: How the model does.
        threads: The number of threads that the run computed with.
        board: TensorBoard, if it is on.
        warnings: What the user was warned of.

    Returns:
        The content of summary.json.
    """
    note = model.metadata.split_note
    if scores.refit_on_val:
        note = note_refit(note)
    if board:
        _show_on_board(board, model, context, scores)
    seen = {f"{split}_images_seen": seen_in_split(note, split) for split in ("val", "test")}
    summary = _summarize(context, folder, recorder, scores, seen, threads)
    summary |= {**_data_facts(context), "warnings": list(warnings)}
    metrics = {key: summary[key] for key in METRICS[context.task]}
    model.metadata = dataclasses.replace(model.metadata, metrics=metrics, split_note=note)
    _write_files(context, folder, model, summary, recorder.records, scores.predictions)
    if context.config.report:
        report_run(
            finished_material(context, folder, model, summary, recorder.records, scores.predictions), context.callback
        )
    return summary


def _summarize(
    context: RunContext,
    folder: Path,
    recorder: RunRecorder,
    scores: RunScores,
    seen: dict[str, int | None],
    threads: int,
) -> dict[str, Any]:
    """Return what was trained on what, and the results: the content of summary.json."""
    config, network, splits, class_names = (
        context.config,
        context.network,
        context.splits,
        context.source.class_names,
    )
    records, best = recorder.records, recorder.best_record
    val = scores.val.to_dict(class_names)
    test = scores.test.to_dict(class_names) if scores.test else {}
    return {
        "run": str(folder),
        "model": str(folder / MODEL_FILE),
        "arch": str(network.arch),
        "weights": network.origin,
        "data": config.data,
        "classes": len(class_names),
        "class_names": list(class_names),
        "head": config.head,
        "loss": config.resolved_loss,
        "tune": config.tune,
        "seed": config.seed,
        "epochs": records[-1].epochs,
        "train_images": len(splits.train),
        "val_images": len(splits.val),
        "test_images": len(splits.test or ()),
        **seen,
        **{f"val_{name}": value for name, value in val.items()},
        **{f"test_{name}": test.get(name) for name in val},
        "val_intervals": {name: list(both) for name, both in scores.val.intervals.items()},
        "test_intervals": {name: list(both) for name, both in scores.test.intervals.items()} if scores.test else None,
        **_class_accuracy(context.task, test or val),
        "best_stage": best.stage,
        "best_epoch": best.epoch,
        "refit_on_val": scores.refit_on_val,
        "stages": {
            stage: {f"val_{SCORE_OF[context.task]}": record.score, "epoch": record.epoch}
            for stage, record in best_records(records).items()
        },
        "train_loss": records[-1].train_loss,
        "seconds": round(recorder.seconds, 2),
        "images_per_second": round(_images_per_second(records), 1),
        "precision": context.setup.precision,
        "device": str(context.setup.device),
        "threads": threads,
        "bad_images": [dataclasses.asdict(image) for image in splits.bad],
        "dropped_images": [dataclasses.asdict(image) for image in splits.dropped],
        "versions": package_versions(),
    }


def _data_facts(context: RunContext) -> dict[str, Any]:
    """Return what the data are: how val was made, the images of each class, sizes and modes."""
    splits, facts = context.splits, context.splits.image_facts
    by_class = {split: count_classes(each.targets, context.classes) for split, each in splits.present.items()}
    return {
        "val_origin": splits.val_origin,
        "images_by_class": {
            split: dict(zip(context.source.class_names, counts, strict=True)) for split, counts in by_class.items()
        },
        "image_facts": facts.to_dict() if facts else None,
    }


def _class_accuracy(task: Task, metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a run of multi-class data says of its classes, and another of its task."""
    return {"class_accuracy": metrics["class_accuracy"]} if task == "multi-class" else {"task": task}


def _images_per_second(records: Sequence[EvalRecord]) -> float:
    """Return the speed of training over the last stage."""
    last = [record for record in records if record.stage == records[-1].stage]
    return sum(record.images for record in last) / sum(record.images / record.images_per_second for record in last)


def _show_on_board(board: TensorBoard, model: ImageClassifier, context: RunContext, scores: RunScores) -> None:
    """Add sample images with predictions, the graph and the results to TensorBoard."""
    config, splits, spec = context.config, context.splits, model.input_spec
    board.add_images(sample_images(model, splits.test or splits.val, config.seed))
    blank = torch.zeros(1, spec.channels, spec.height, spec.width, device=model.compute.device)
    if problem := board.add_graph(model.module, blank):
        context.callback(WarningEvent(f"TensorBoard has no graph of this network: {problem}"))
    name = SCORE_OF[context.task]
    found = {f"val_{name}": scores.val.score, "val_loss": scores.val.loss}
    found |= {f"test_{name}": scores.test.score} if scores.test else {}
    board.add_results(config.to_dict(), {key: value for key, value in found.items() if value is not None})


def _write_files(
    context: RunContext,
    folder: Path,
    model: ImageClassifier,
    summary: dict[str, Any],
    records: list[EvalRecord],
    predictions: Mapping[str, Predictions],
) -> None:
    """Write the model and what explains it; summary.json comes last, since a run that has it is finished."""
    config, splits = context.config, context.splits

    def report(path: Path, what: str) -> None:
        context.callback(FileWritten(path, what))

    save_model(folder / MODEL_FILE, model.module.state_dict(), model.metadata)
    report(folder / MODEL_FILE, "the best weights by val, class names and preprocessing")
    report(folder / LAST_FILE, "the weights of the last epoch")
    for form in dict.fromkeys(config.save):
        path = folder / export_format(form).file
        check = check_images_of(splits.val, f"val of {context.source.name}", SAVE_CHECKED)
        export_model(model, form, path, check, open_val=lambda: splits.val, origin=str(folder), replace=True)
        report(path, f"the best weights as a {form}")
    if save_predictions(folder, predictions, model.class_names):
        report(folder / PREDICTIONS_FILE, "logits and targets of val and test")
    if excluded := [*splits.bad, *splits.dropped]:
        report(write_bad_images(folder, excluded), "the images that were left out")
    draw_curves([Curve(f"{summary['arch']} on {summary['data']}", records)], folder / CURVES_FILE)
    name = "accuracy" if context.task != "multi-label" else "mean average precision"
    report(folder / CURVES_FILE, f"loss and {name} over the epochs")
    report(folder / CONFIG_FILE, "the settings, to run again")
    report(folder / METRICS_FILE, "a line for each evaluation")
    longer = f"all that {named('resume')} needs to train for more {named('epochs')}"
    report(folder / CHECKPOINT_FILE, longer)
    if config.tensorboard:
        report(folder / TENSORBOARD_FOLDER, f"tensorboard --logdir {folder}")
    report(write_model_card(context, folder, model, summary), "the model card, for you to complete")
    report(write_summary(folder, summary), "the results")
