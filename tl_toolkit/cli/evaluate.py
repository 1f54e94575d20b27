"""``tl evaluate``."""

import dataclasses
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tl_toolkit.cli import console
from tl_toolkit.cli.early import check_early
from tl_toolkit.cli.loading import loading
from tl_toolkit.cli.options import (
    UNREADABLE,
    DataArgument,
    DeviceOption,
    JsonOption,
    ModelOption,
    PrecisionOption,
    ThreadsOption,
    TrustOption,
    WorkersOption,
    flags_set,
    only_data,
    with_source_flags,
)
from tl_toolkit.config.choices import KINDS
from tl_toolkit.errors import UsageError
from tl_toolkit.io.files import display_data, display_path

if TYPE_CHECKING:
    from tl_toolkit.recipes.evaluate import Evaluation


@with_source_flags
def evaluate(
    *,
    images: DataArgument = None,
    model: ModelOption = None,
    data: Annotated[
        str | None,
        typer.Option(help=f"Images: {KINDS}.", show_default="what the model was trained on"),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(help="train, val or test.", show_default="test, else val, else what the model did not learn from"),
    ] = None,
    workers: WorkersOption = None,
    threads: ThreadsOption = None,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "auto",
    trust: TrustOption = False,
    as_json: JsonOption = False,
    **reading: Any,
) -> None:
    """Evaluate a model on labelled images: loss, top-1, top-5 and the accuracy of each class.

    With several labels an image: mean average precision (mAP), F1, and the
    figures of each label.

    Classes are matched by name. Of its own training data, a model is evaluated
    on what it has not seen. If it learned from some of the images, their share
    is shown.
    """
    data = only_data(images, data)
    from tl_toolkit.runs.folder import newest_run

    place = model or str(newest_run())
    check_early(model=place, data=data)
    with loading():
        from tl_toolkit.cli.progress import ProgressDisplay
        from tl_toolkit.data.sources.base import SourceOptions
        from tl_toolkit.events import DecisionEvent, download_progress
        from tl_toolkit.inference.loading import load
        from tl_toolkit.inference.scoring import open_labelled
        from tl_toolkit.recipes.evaluate import evaluate

    with ProgressDisplay(console.status_console(to_stderr=True)) as display:
        loaded = load(place, device=device, precision=precision, trust=trust)
        display(DecisionEvent("model", display_path(place), "" if model else "the newest run"))
        spec = data or loaded.metadata.training.get("data")
        if not spec:
            raise UsageError(f"{place} does not say what it was trained on: say --data.")
        display(DecisionEvent("data", display_data(spec), "" if data else "what the model was trained on"))
        learned_with = {"task": loaded.task} if data else loaded.metadata.training
        settings = {**learned_with, **flags_set(reading)}
        source = open_labelled(spec, SourceOptions.from_settings(settings, download_progress(display)))
        result = evaluate(loaded, source, split, workers=workers, threads=threads, callback=display)
    if as_json:
        console.print_json(_plain(result, place, spec))
    else:
        _print(result)
    if result.bad_images:
        console.print_bad_images([(image.path, image.reason) for image in result.bad_images])
        raise typer.Exit(UNREADABLE)


def _plain(result: "Evaluation", model: str, data: str) -> dict[str, Any]:
    return {
        "model": model,
        "data": data,
        "split": result.split,
        "split_of_run": result.of_run,
        "images": result.scores.images,
        "seen_images": result.seen,
        "left_out_images": result.left_out,
        **result.metrics,
        "bad_images": [dataclasses.asdict(image) for image in result.bad_images],
    }


def _print(result: "Evaluation") -> None:
    from tl_toolkit.metrics.base import METRICS, SCORE_OF

    scores = result.scores
    seen = "not known"
    if result.seen is not None:
        count = f"{result.seen:,} ({console.percent(result.seen / scores.images)})" if result.seen else "none"
        seen = f"{count} in training"
    headline = SCORE_OF[scores.task]
    if scores.task == "multi-label":
        error = scores.values["mean_average_precision_error"]
        spread = f" ± {100 * error:.1f}" if isinstance(error, float) else ""
        console.print_accuracy(f"{console.percent(scores.score)}{spread} on {scores.images:,} images", "mAP")
    else:
        console.print_accuracy(f"{console.percent(scores.accuracy)} of {scores.images:,} images")
    rows = [("images", f"{result.data}, {result.title}"), ("seen", seen)]
    columns, by_class = ["class" if result.class_accuracy else "label"], _rows_by_class(result)
    for name, value in scores.values.items():
        metric = METRICS.get(name)
        if isinstance(value, tuple):
            columns.append(metric.label)
            for class_name, row in by_class.items():
                row.append(_format(result.metrics[name].get(class_name), metric.format))
        elif value is not None and name not in (headline, f"{headline}_error"):
            rows.append((metric.label, _format(value, metric.format)))
    console.print_rows([*rows, ("loss", _format(scores.loss, "number"))])
    if len(columns) > 1:
        console.print_blank()
        console.print_table(columns, by_class.values(), numbers=len(columns) - 1)


def _rows_by_class(result: "Evaluation") -> dict[str, list[str]]:
    """Return the beginning of a table's row for each class that has images, or for each label."""
    names = result.class_accuracy or result.metrics.get("threshold", {})
    return {name: [name] for name in names}


def _format(value: float | None, how: str) -> str:
    """Return a metric's value for people; nothing for None."""
    if how == "count" and value is not None:
        return f"{value:,.0f}"
    return console.percent(value) if value is None or how == "percent" else f"{value:.4f}"
