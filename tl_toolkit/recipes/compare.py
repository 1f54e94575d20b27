"""Comparison: how runs differ in their settings, and whether one is better than another on the same images."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tl_toolkit.config.choices import Precision, Task
from tl_toolkit.data.workers import report_worker_deaths
from tl_toolkit.errors import ToolkitError, UsageError
from tl_toolkit.events import Callback, DecisionEvent, WarningEvent, log_event
from tl_toolkit.inference.classifier import ImageClassifier
from tl_toolkit.inference.loading import load
from tl_toolkit.io.own_files import MODEL_FILE
from tl_toolkit.metrics.base import SCORE_OF
from tl_toolkit.metrics.paired_figures import Estimate, ModelFigures, compare_figures
from tl_toolkit.metrics.paired_tests import holm
from tl_toolkit.metrics.predictions import Predictions
from tl_toolkit.metrics.resampled import NAMES
from tl_toolkit.metrics.shared_images import SharedImages, match_images, subset
from tl_toolkit.metrics.verdict import Verdict, judge
from tl_toolkit.runs.compared_run import ComparedRun, differing, read_compared
from tl_toolkit.runs.judging import Judged, judge_by_run, judge_on
from tl_toolkit.text import named, plural
from tl_toolkit.training.threads import torch_threads

FIGURES: Mapping[Task, tuple[str, ...]] = {
    "multi-class": ("accuracy", "balanced_accuracy", "macro_f1", "loss"),
    "multi-label": ("mean_average_precision", "macro_f1", "micro_f1", "subset_accuracy", "loss"),
    "soft": ("accuracy", "loss"),
}

OF_OTHER_CLASSES = ("accuracy", "balanced_accuracy")
"""Figures that can be compared of models that choose among different classes."""

MOST_RUNS = 26
"""Each has a letter."""

FEW = 0.5
"""Runs that share less than this part of their images were mostly judged on others."""


@dataclass(frozen=True)
class RunResult:
    """A run within a comparison.

    Attributes:
        letter: What tables call it.
        run: Its settings and its own results.
        figures: By name: on the shared images with intervals, or else as its summary has them.
        images: Number of these images.
        test: How it differs from the first run on the shared images; None where it shares none.
        verdict: Whether it is better than the first run; None for that one, and where it shares none.
        reason: Why it cannot be compared; empty where it can.
    """

    letter: str
    run: ComparedRun
    figures: Mapping[str, Estimate] = dataclasses.field(default_factory=dict)
    images: int = 0
    test: ModelFigures | None = None
    verdict: Verdict | None = None
    reason: str = ""


@dataclass(frozen=True)
class Comparison:
    """What `compare` finds.

    Attributes:
        results: Of each run, in the order given.
        reference: The run that others are compared with; None if none can be.
        differing: Settings and facts that differ, with the value of each run.
        images: Number of images that all compared runs were judged on.
        where: What they are, such as "test images".
    """

    results: Sequence[RunResult]
    reference: RunResult | None
    differing: Sequence[tuple[str, Sequence[str]]]
    images: int
    where: str

    @property
    def sentences(self) -> list[str]:
        """For each run but the first one, whether it is better, worse or neither."""
        return [sentence for result in self.results if (sentence := self.sentence(result))]

    def sentence(self, result: RunResult) -> str:
        """Return the verdict on a run, or why there is none; empty for the one that others are compared with."""
        names = _names([each.run for each in self.results])
        name = names[result.letter]
        if result.verdict and self.reference:
            return result.verdict.sentence(name, names[self.reference.letter], self.images, self.where)
        return f"{name} cannot be compared: {result.reason}" if result.reason else ""


@report_worker_deaths()
def compare(
    places: Sequence[str | Path],
    data: Any = None,
    split: str | None = None,
    *,
    reading: Mapping[str, Any] | None = None,
    device: str = "auto",
    precision: Precision = "auto",
    trust: bool = False,
    workers: int | None = None,
    threads: int | None = None,
    callback: Callback = log_event,
) -> Comparison:
    """Compare runs, or models, with the first one of them: settings, figures, and a test on the same images.

    Args:
        places: Run folders, their names under runs/, or model files.
        data: Images to judge all models on; None for those that the runs were judged on.
        split: By default test if all runs have it, else val; of `data` what each model did not learn from.
        reading: Settings that say how to read `data`.
        device: See `load`.
        precision: See `load`.
        trust: See `load`.
        workers: Number of processes that decode images.
        threads: Number of cores; by default OMP_NUM_THREADS, else all that this process may use.
        callback: Receives decisions, warnings and progress.

    Raises:
        UsageError: A run does not exist, or there are too many.
        ToolkitError: A file of a run is damaged, or no model fits the images.
    """
    if not 2 <= len(places) <= MOST_RUNS:
        raise UsageError(f"{plural(len(places), 'run')} cannot be compared: name 2 to {MOST_RUNS}.")
    runs = [read_compared(str(place)) for place in places]

    def load_model(file: Path) -> ImageClassifier:
        return load(file, device=device, precision=precision, trust=trust)

    chosen = _choose_split(runs, callback) if data is None and split is None else split
    judged: dict[int, Judged] = {}
    reasons: dict[int, ToolkitError] = {}
    with torch_threads(threads):
        for index, run in enumerate(runs):
            try:
                if data is None:
                    judged[index] = judge_by_run(run, chosen or "val", load_model, workers, callback)
                else:
                    judged[index] = judge_on(run, data, dict(reading or {}), chosen, load_model, workers, callback)
            except ToolkitError as error:
                reasons[index] = error
        if data is not None and not judged:
            raise reasons[0]
        return _compared(runs, judged, {index: str(error) for index, error in reasons.items()}, chosen, callback)


def _choose_split(runs: Sequence[ComparedRun], callback: Callback) -> str:
    """Choose test if all runs have it, else val."""
    if all(run.has_split("test") for run in runs):
        callback(DecisionEvent("split", "test", "all runs have it", detail=True))
        return "test"
    lacking = next(run.place for run in runs if not run.has_split("test"))
    refit = "; it is from before the last head learned from val too" if any(run.refit_on_val for run in runs) else ""
    callback(
        WarningEvent(
            f"Compared on val, since {lacking} has no test split. Runs choose their best epoch by val, so these "
            f"figures are a little too good{refit}."
        )
    )
    return "val"


def _compared(
    runs: Sequence[ComparedRun],
    judged: Mapping[int, Judged],
    reasons: dict[int, str],
    split: str | None,
    callback: Callback,
) -> Comparison:
    """Compare all runs that were judged on the same images with the first one of them."""
    compared = _comparable(judged, reasons)
    first = judged[compared[0]] if len(compared) > 1 else None
    tests: dict[int, ModelFigures] = {}
    verdicts: dict[int, Verdict] = {}
    images = 0
    if first:
        shared = match_images(*zip(*((judged[i].predictions, judged[i].class_names) for i in compared), strict=True))
        images = len(shared)
        same = [subset(judged[i].predictions, own) for i, own in zip(compared, shared.indices, strict=True)]
        _warn({runs[i].place: judged[i] for i in compared}, shared, callback)
        names = _figures([judged[i] for i in compared], same, callback)
        found = compare_figures(same, names, [judged[i].thresholds for i in compared])
        tests = dict(zip(compared, found, strict=True))
        score = next(name for name in (SCORE_OF[first.predictions.task], *names) if name in names)
        corrected = holm([each.differences[score].p for each in found[1:]])
        for index, p in zip(compared[1:], corrected, strict=True):
            verdicts[index] = judge(tests[index], score, images, p, len(corrected))
    results = [
        RunResult(
            chr(ord("A") + index),
            run,
            tests[index].figures if index in tests else _own_figures(run, split),
            images if index in tests else _own_images(run, split),
            tests.get(index),
            verdicts.get(index),
            reasons.get(index, ""),
        )
        for index, run in enumerate(runs)
    ]
    reference = results[compared[0]] if first else None
    return Comparison(results, reference, differing(runs), images, first.where if first else "")


def _comparable(judged: Mapping[int, Judged], reasons: dict[int, str]) -> list[int]:
    """Return the runs that share images with the first one that was judged, and that one; say of others why not."""
    compared: list[int] = []
    for index, each in judged.items():
        if not compared:
            compared.append(index)
            continue
        first = judged[compared[0]]
        if reason := _obstacle(first, each):
            reasons[index] = reason
            continue
        together = [judged[i] for i in (*compared, index)]
        if not len(match_images([own.predictions for own in together], [own.class_names for own in together])):
            reasons[index] = (
                f"none of its {len(each.predictions):,} {each.where} is among those of the other runs. Judge the "
                f"models on images that none has learned from: {named('data', 'DATA')}"
            )
            continue
        compared.append(index)
    return compared


def _obstacle(first: Judged, other: Judged) -> str:
    """Return why two models cannot be compared on any images; empty if they can."""
    tasks = [each.predictions.task for each in (first, other)]
    if tasks[0] != tasks[1]:
        return f"its data are {tasks[1]}, those of the first run {tasks[0]}."
    if tasks[0] != "multi-class" and set(first.class_names) != set(other.class_names):
        return "it has other labels than the first run."
    return ""


def _warn(judged: Mapping[str, Judged], shared: SharedImages, callback: Callback) -> None:
    """Warn of what makes a comparison of runs, by their places, weaker than it looks."""
    images = plural(len(shared), "image")
    if shared.relabelled:
        callback(
            WarningEvent(f"{plural(shared.relabelled, 'image')} left out: the runs have them in different classes.")
        )
    most = max(len(each.predictions) for each in judged.values())
    if len(shared) < FEW * most:
        callback(
            WarningEvent(
                f"The runs have only {images} in common, of up to {most:,}: they divided their data differently. To "
                f"judge the models on more: {named('data', 'DATA')}"
            )
        )
    for (place, each), own in zip(judged.items(), shared.indices, strict=True):
        learned = each.learned or frozenset()
        if seen := sum(each.predictions.contents[image] in learned for image in own):
            callback(
                WarningEvent(
                    f"{place} learned from {seen:,} of these {images}: on them it does better than on new images."
                )
            )


def _figures(judged: Sequence[Judged], same: Sequence[Predictions], callback: Callback) -> list[str]:
    """Return the figures that can be compared, of what the models give for the same images."""
    names = list(FIGURES[judged[0].predictions.task])
    classes = [len(each.class_names) for each in judged]
    if any(set(each.class_names) != set(judged[0].class_names) for each in judged[1:]):
        names = [name for name in names if name in OF_OTHER_CLASSES]
        counts = " and ".join(map(str, dict.fromkeys(classes)))
        callback(
            WarningEvent(
                f"The runs know different classes ({counts} of them): only images of classes that all know are "
                "compared, and among fewer classes a right one is easier to find."
            )
        )
    elif len({each.predictions.loss == "bce" and each.predictions.logits.shape[1] > 1 for each in judged}) > 1:
        names.remove("loss")  # Of a yes or no for each class in one run, and of one class in another.
    if not bool((same[0].targets > 0).any()):  # Images without any label have no average precision.
        names = [name for name in names if name != "mean_average_precision"]
    return names


def _own_images(run: ComparedRun, split: str | None) -> int:
    return int(run.summary.get(f"{split}_images") or 0)


def _own_figures(run: ComparedRun, split: str | None) -> dict[str, Estimate]:
    """Return the figures in a run's summary, with the intervals that it has."""
    intervals = run.summary.get(f"{split}_intervals") or {}
    nothing = (float("nan"), float("nan"))
    return {
        name: Estimate(value, *intervals.get(name, nothing))
        for name in NAMES
        if isinstance(value := run.summary.get(f"{split}_{name}"), float)
    }


def _names(runs: Sequence[ComparedRun]) -> dict[str, str]:
    """Return what sentences call each run, by its letter: the name of its folder, if no other one has it."""
    short = [run.place if Path(run.place).name == MODEL_FILE else Path(run.place).name for run in runs]
    return {
        chr(ord("A") + index): name if short.count(name) == 1 else runs[index].place for index, name in enumerate(short)
    }
