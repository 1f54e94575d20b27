"""The report of a run, from its folder: of a finished run or an unfinished one, with its images or without."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tl_toolkit.config.config_file import read_config_file
from tl_toolkit.config.finetune import FinetuneConfig
from tl_toolkit.data.sources.base import Source, SourceOptions, open_source
from tl_toolkit.data.sources.names import PYTHON_PREFIX
from tl_toolkit.data.workers import report_worker_deaths
from tl_toolkit.errors import ToolkitError, UsageError
from tl_toolkit.events import (
    Callback,
    DecisionEvent,
    EvalRecord,
    FileWritten,
    WarningEvent,
    download_progress,
    log_event,
)
from tl_toolkit.inference.classifier import ImageClassifier
from tl_toolkit.inference.loading import load
from tl_toolkit.inference.scoring import check_task
from tl_toolkit.io.files import check_new_file, display_data, expand_path, is_file
from tl_toolkit.io.own_files import CONFIG_FILE, METRICS_FILE
from tl_toolkit.report.feature_map import Projection, check_projection
from tl_toolkit.report.tables import SplitMetrics
from tl_toolkit.runs.folder import REPORT_FILE, find_run
from tl_toolkit.runs.imported import is_imported
from tl_toolkit.runs.metrics_log import read_metrics
from tl_toolkit.runs.predictions_file import read_predictions
from tl_toolkit.runs.report_file import DESCRIPTION, write_page
from tl_toolkit.runs.report_images import describe_lost, find_images
from tl_toolkit.runs.report_map import with_projection
from tl_toolkit.runs.report_material import RunMaterial
from tl_toolkit.runs.report_predictions import FoundPredictions, compute_predictions, describe_differences, shown_split
from tl_toolkit.runs.summary import read_summary
from tl_toolkit.runs.suspicious_labels import read_suspicious
from tl_toolkit.text import named
from tl_toolkit.training.threads import torch_threads

SECONDS = 30.0
"""For pictures and heat maps: a report that someone waits for may take longer than one at the end of a run."""


@report_worker_deaths()
def write_report(
    run: str | Path,
    *,
    out: str | Path | None = None,
    data: Any = None,
    map: Projection = "pca",
    device: str = "auto",
    threads: int | None = None,
    callback: Callback = log_event,
) -> Path:
    """Write the report of a run: one HTML file that needs nothing else.

    Args:
        run: The run folder.
        out: The file to write, which must not exist; by default report.html in the run folder, which is replaced.
        data: Where the images are, if they have moved; of a run on Python objects, the same objects.
        map: How the map of the features is computed: "pca" or "umap"; see `project`.
        device: See `load`.
        threads: Number of cores; by default OMP_NUM_THREADS, else all that this process may use.
        callback: Receives decisions, warnings and progress.

    Returns:
        The path of the file.

    Raises:
        UsageError: `run` is not a run folder, has no model yet, or `out` exists; or the map cannot be computed so.
        ToolkitError: A file of the run is damaged, or the report cannot be written.
    """
    check_projection(map)
    folder = find_run(run)
    path = expand_path(out) if out is not None else folder / REPORT_FILE
    if out is not None:
        check_new_file(path)
    with torch_threads(threads):
        material = with_projection(read_material(folder, data, device, callback), map, callback)
        for what in material.warnings:
            callback(WarningEvent(what))
        write_page(material, path, SECONDS)
    callback(FileWritten(path, DESCRIPTION))
    return path


def read_material(folder: Path, data: Any, device: str, callback: Callback) -> RunMaterial:
    """Return what is known of a run from its folder, and from its images if they are at hand.

    Raises:
        ToolkitError: A file of the run is damaged, or the images that the user named cannot be opened.
    """
    config = FinetuneConfig.from_values(read_config_file(folder / CONFIG_FILE))
    summary, model = read_summary(folder) or {}, load(folder, device=device)
    imported = is_imported(folder)
    if not summary and not imported:
        callback(DecisionEvent("run", "not finished", "the report is of its best model so far"))
    if imported and data is None:
        source, why = None, f"the model was imported, without images: {named('data', 'DATA')} names some"
        callback(WarningEvent(f"An imported model says nothing of images: {named('data', 'DATA')} names some."))
    else:
        source, why = _open_data(model, config, data, callback)
    root = str(data) if isinstance(data, str | Path) else "" if imported else config.data
    found = _find(folder, summary, model, source, (root, config.data), callback)
    split = shown_split(found.predictions, found.metrics)
    missing = list(found.problems)
    if source is None:
        missing.append(("pictures", why))
    if split not in found.predictions:
        missing.append(("mistakes, confusion matrix and calibration", _why_no_predictions(summary, split, why)))
    return RunMaterial(
        folder=folder,
        metadata=model.metadata,
        summary=summary,
        records=_records(folder),
        config=config.to_yaml(),
        split=split,
        metrics=found.metrics.get(split),
        predictions=found.predictions.get(split),
        images=found.images,
        suspicious=read_suspicious(folder),
        model=model if source is not None else None,
        missing=missing,
        warnings=found.differences,
        data_now=root,
    )


def _find(
    folder: Path,
    summary: Mapping[str, Any],
    model: ImageClassifier,
    source: Source | None,
    roots: tuple[str, str],
    callback: Callback,
) -> FoundPredictions:
    """Return the predictions of a run and their images: those that it kept, or else computed again.

    Args:
        folder: The run folder.
        summary: The content of summary.json; empty of a run that is not finished.
        model: Its model.
        source: Its images; None if they are not at hand.
        roots: The folder or name of the data now, and when they were trained on.
        callback: Receives decisions and progress.
    """
    metrics = {split: found for split in ("val", "test") if (found := SplitMetrics.of_summary(summary, split))}
    # Those of an unfinished run are of an earlier end, before it was trained for longer.
    predictions = (read_predictions(folder) or {}) if summary else {}
    if source is None:
        return FoundPredictions(predictions, metrics, {})
    if predictions:
        images = find_images(predictions, source, model.metadata.split_note, *roots)
        split = shown_split(predictions, metrics)
        lost = [(f"pictures of {split}", why)] if (why := describe_lost(images.get(split))) else []
        if lost:
            callback(WarningEvent(f"Pictures of {split} are missing: {why}."))
        return FoundPredictions(predictions, metrics, images, lost)
    images = find_images({}, source, model.metadata.split_note, *roots)
    computed = compute_predictions(model, summary, source, callback)
    return dataclasses.replace(
        computed,
        metrics={**metrics, **computed.metrics},
        images={**images, **computed.images},
        differences=describe_differences(metrics, computed.metrics),
    )


def _records(folder: Path) -> list[EvalRecord]:
    """Return the evaluations while training; none if the run has not come so far, or the file is gone."""
    try:
        return read_metrics(str(folder)) if is_file(folder / METRICS_FILE) else []
    except UsageError:
        return []


def _open_data(
    model: ImageClassifier, config: FinetuneConfig, data: Any, callback: Callback
) -> tuple[Source | None, str]:
    """Open the images of a run, or say why that is not possible; those that the user named must be there."""
    spec = config.data if data is None else data
    if data is None and config.data.startswith(PYTHON_PREFIX):
        return None, f"the run was trained on Python objects: in Python, {named('data')} takes the same ones"
    options = SourceOptions.from_settings({**config.to_dict(), "task": model.task}, download_progress(callback))
    try:
        source = open_source(spec, options)
        check_task(model, source)
    except (ToolkitError, OSError) as error:
        if data is not None:
            raise
        callback(
            WarningEvent(
                f"The images of the run cannot be opened: {error} {named('data', 'DATA')} says where they are."
            )
        )
        return None, f"the images cannot be opened: {error}"
    if isinstance(spec, str | Path):
        callback(DecisionEvent("data", display_data(str(spec)), "" if data else "what the run was trained on"))
    return source, ""


def _why_no_predictions(summary: Mapping[str, Any], split: str, why: str) -> str:
    """Return why nothing is known of single images; `why` is why the data cannot be opened, empty if they can."""
    if not why and split == "val" and summary.get("refit_on_val"):
        why = "the model learned from val after val was judged, so what it says of val now is no test of it"
    return f"the run kept no predictions, and {why or f'the data have no image of its {split}'}"
