"""Predictions for the images of a run: those that it kept, or computed again with its model."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tl_toolkit.data.fingerprints import content_fingerprints
from tl_toolkit.data.quality.readability import check_splits
from tl_toolkit.data.samples import Samples
from tl_toolkit.data.seen_images import EVAL_SPLITS, choose_eval_split
from tl_toolkit.data.sources.base import Source
from tl_toolkit.errors import ToolkitError, UnknownNameError
from tl_toolkit.events import Callback, DecisionEvent
from tl_toolkit.inference.classifier import ImageClassifier
from tl_toolkit.inference.scoring import remap_targets, score
from tl_toolkit.metrics.base import SCORE_OF, Scores
from tl_toolkit.metrics.predictions import PredictionKeeper, Predictions
from tl_toolkit.report.feature_map import project
from tl_toolkit.report.pictures import FoundImages
from tl_toolkit.report.tables import SplitMetrics
from tl_toolkit.text import plural

SAME = 1e-3
"""Scores that are further apart are of other images, or of another model."""


@dataclass(frozen=True)
class FoundPredictions:
    """What is known of the images of a run's splits, by split.

    Attributes:
        predictions: What the model gives.
        metrics: The figures.
        images: Where the images are.
        problems: What could not be found, and why.
        differences: Warnings where figures are others than those in summary.json.
    """

    predictions: Mapping[str, Predictions]
    metrics: Mapping[str, SplitMetrics]
    images: Mapping[str, FoundImages]
    problems: Sequence[tuple[str, str]] = ()
    differences: Sequence[str] = ()


def shown_split(predictions: Mapping[str, Predictions], metrics: Mapping[str, SplitMetrics]) -> str:
    """Return the split that a report is of: test if anything is known of it, else val."""
    return "test" if "test" in predictions or "test" in metrics else "val"


def compute_predictions(
    model: ImageClassifier, summary: Mapping[str, Any], source: Source, callback: Callback
) -> FoundPredictions:
    """Compute the predictions for test, else for val, as far as the data still have the images of the run.

    Args:
        model: The run's model.
        summary: The content of summary.json; empty of a run that is not finished.
        source: The data.
        callback: Receives decisions and progress.
    """
    problems: list[tuple[str, str]] = []
    note = model.metadata.split_note
    learned = {*(note.learned if note else ()), *(("val",) if summary.get("refit_on_val") else ())}
    for split in EVAL_SPLITS:
        samples = None if split in learned else _find_samples(model, source, split, problems, callback)
        if samples is None:
            continue
        scores, predictions = _score(model, samples)
        count = plural(len(predictions), "image")
        callback(DecisionEvent(split, f"computed for {count}", "the run kept no predictions"))
        metrics, images = SplitMetrics.of_scores(scores, model.class_names), FoundImages.all_of(samples)
        return FoundPredictions({split: predictions}, {split: metrics}, {split: images}, problems)
    return FoundPredictions({}, {}, {}, problems)


def _find_samples(
    model: ImageClassifier, source: Source, split: str, problems: list[tuple[str, str]], callback: Callback
) -> Samples | None:
    """Return the readable images of a split that the run had; None if there are none, and add the reasons."""
    try:
        chosen = choose_eval_split(model.metadata, source, split, callback)
        samples = remap_targets(chosen.samples, source.class_names, model.class_names)
    except UnknownNameError:
        return None
    except ToolkitError as error:
        problems.append((f"predictions for {split}", str(error)))
        return None
    samples, others = _of_the_run(model, split, samples)
    if others:
        problems.append((f"{plural(others, 'image')} of {split}", "the run did not have them"))
    checked = check_splits({split: samples}, callback, model.input_spec.min_decode_size)[split]
    return checked.readable if checked.results else None


def _of_the_run(model: ImageClassifier, split: str, samples: Samples) -> tuple[Samples, int]:
    """Return the images of a split that the run had, if it noted them, and the number of others."""
    known = model.metadata.split_note.fingerprints(split) if model.metadata.split_note else frozenset()
    prints = content_fingerprints(samples) if known else []
    if not any(prints):
        return samples, 0
    kept = [index for index, found in enumerate(prints) if found in known]
    return samples.subset(kept), len(samples) - len(kept)


def _score(model: ImageClassifier, samples: Samples) -> tuple[Scores, Predictions]:
    keeper = PredictionKeeper()
    scores = score(model, samples, None, keeper=keeper)
    contents = content_fingerprints(samples)
    predictions = keeper.predictions(samples.names(), contents, model.metadata.loss, model.task)
    if predictions.features is not None:
        predictions = dataclasses.replace(predictions, map=project(predictions.features))
    return scores, predictions


def describe_differences(noted: Mapping[str, SplitMetrics], computed: Mapping[str, SplitMetrics]) -> list[str]:
    """Return a warning where scores differ from those in summary.json: images or files have changed."""
    warnings = []
    for split, now in computed.items():
        before = noted.get(split)
        if before is None:
            continue
        score, earlier = (each.values[SCORE_OF[each.task]] for each in (now, before))
        if now.images != before.images or abs(score - earlier) > SAME:
            warnings.append(
                f"{split} was computed again: {100 * score:.1f} % of {plural(now.images, 'image')}, where summary.json "
                f"says {100 * earlier:.1f} % of {before.images:,}. Images have changed, or the computation differs."
            )
    return warnings
