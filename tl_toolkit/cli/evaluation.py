"""What ``tl evaluate`` prints: tables for people, JSON and CSV for programs."""

import csv
import dataclasses
import io
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from tl_toolkit.cli import console
from tl_toolkit.text import join_names, plural

if TYPE_CHECKING:
    from tl_toolkit.recipes.evaluate import Evaluation

MOST_CLASSES = 30
"""Classes that the table shows all of; of more it shows `WORST` with the lowest F1."""

WORST, CONFUSED = 15, 5


def print_evaluation(result: "Evaluation", temperature: float) -> None:
    """Print the figures with their intervals, those of the classes, and what is taken for what.

    Args:
        result: The results.
        temperature: Of the model.
    """
    _print_headline(result)
    _print_figures(result)
    _print_classes(result)
    if result.scores.task == "multi-class":
        _print_confused(result)
        _print_coverage(result, temperature)


def as_json(result: "Evaluation", model: str, data: str) -> dict[str, Any]:
    """Return everything, for JSON."""
    return {
        "model": model,
        "data": data,
        "split": result.split,
        "split_of_run": result.of_run,
        "images": result.scores.images,
        "seen_images": result.seen,
        "left_out_images": result.left_out,
        **result.metrics,
        "intervals": {name: list(ends) for name, ends in result.scores.intervals.items()},
        **_recall_intervals(result),
        "bad_images": [dataclasses.asdict(image) for image in result.bad_images],
    }


def as_csv(result: "Evaluation") -> Iterator[str]:
    """Yield a line of headings, and a line of figures for each class or label, whether it has images or not."""
    lists = _values_by_class(result)
    intervals = next(iter(_recall_intervals(result).values()), {})
    columns = [_column(name) for name in lists]
    rows = [[_heading(result), *columns, *(["recall_low", "recall_high"] if intervals else [])]]
    for index, class_name in enumerate(result.class_names):
        figures = [_plain(values[index]) for values in lists.values()]
        ends = intervals.get(class_name, ("", "")) if intervals else ()
        rows.append([class_name, *figures, *map(_plain, ends)])
    for row in rows:
        line = io.StringIO()
        csv.writer(line).writerow(row)
        yield line.getvalue()


def whole_figures(result: "Evaluation") -> str:
    """Return a sentence that CSV, which is of classes, has no place for."""
    name, figure = _headline(result)
    return f"{name} {figure}; --format json has all figures of the split"


def _column(name: str) -> str:
    """Return the heading of a column in CSV, which is the name in JSON where it is not clear without its beginning."""
    if name == "class_accuracy":
        return "recall"
    for beginning in ("class_", "label_"):
        name = name.removeprefix(beginning)
    return name


def _plain(value: object) -> str:
    """Return a number for a spreadsheet."""
    return f"{value:.6g}" if isinstance(value, float) else "" if value is None else str(value)


def _values_by_class(result: "Evaluation") -> dict[str, tuple[float | None, ...]]:
    values = result.scores.values
    return {name: value for name, value in values.items() if isinstance(value, tuple)}


def _recall_intervals(result: "Evaluation") -> dict[str, dict[str, list[float]]]:
    """Return the interval of the recall of each class or label that has images, by its name."""
    from tl_toolkit.metrics.intervals import wilson

    key, shares, images = "class_accuracy", result.metrics.get("class_accuracy"), result.metrics.get("class_images")
    if result.scores.task == "multi-label":
        key, shares, images = "recall", result.metrics.get("recall"), result.metrics.get("label_images")
    if shares is None or images is None:
        return {}
    ends = {name: wilson(round(share * images[name]), images[name]) for name, share in shares.items()}
    return {f"{key}_intervals": {name: list(both) for name, both in ends.items()}}


def _headline(result: "Evaluation") -> tuple[str, str]:
    from tl_toolkit.metrics.base import SCORE_OF

    scores = result.scores
    interval = scores.intervals.get(SCORE_OF[scores.task])
    name, of = ("mAP", "on") if scores.task == "multi-label" else ("accuracy", "of")
    figure = console.percent_with_interval(scores.score, interval) or "none"
    return name, f"{figure} {of} {plural(scores.images, 'image')}"


def _print_headline(result: "Evaluation") -> None:
    scores = result.scores
    seen = "not known"
    if result.seen is not None:
        count = f"{result.seen:,} ({console.percent(result.seen / scores.images)})" if result.seen else "none"
        seen = f"{count} in training"
    name, figure = _headline(result)
    console.print_accuracy(figure, name)
    rows = [("images", f"{result.data}, {result.title}"), ("seen", seen)]
    if missing := _classes_without_images(result):
        of = f"{len(missing):,} of {len(result.class_names):,} {_several(result)}"
        rows.append(("no images", f"{of}: {join_names(missing)}"))
    console.print_rows(rows)


def _classes_without_images(result: "Evaluation") -> list[str]:
    images = result.metrics.get("label_images" if result.scores.task == "multi-label" else "class_images")
    return [name for name in result.class_names if not images.get(name)] if images else []


def _print_figures(result: "Evaluation") -> None:
    """Print the figures of the split that are one number, and which have none."""
    from tl_toolkit.metrics.base import METRICS, SCORE_OF

    scores, rows, missing = result.scores, [], []
    headline = SCORE_OF[scores.task]
    for name, value in [*scores.values.items(), ("loss", scores.loss)]:
        metric = METRICS.get(name) if name != "loss" else None
        if isinstance(value, tuple) or name.startswith(headline) or (metric and not metric.in_table):
            continue
        label, how = (metric.label, metric.format) if metric else ("loss", "number")
        ends = scores.intervals.get(name)
        interval = (console.percents(ends) if how == "percent" else console.numbers(ends)) if ends else ""
        if value is not None:
            rows.append([label, _format(value, how), interval])
        elif name in ("roc_auc", "mean_average_precision"):
            missing.append(label)
    console.print_blank()
    console.print_table(["figure", "value", "95 % interval"], rows, numbers=2)
    if missing:
        only = next(iter(result.class_accuracy), "")
        console.print_line(f"{' and '.join(missing)} need images of two classes or more, and all of these are {only}.")


def _print_classes(result: "Evaluation") -> None:
    """Print the figures of each class that has images, or of each label; of many the worst."""
    from tl_toolkit.metrics.base import METRICS

    lists = {name: values for name, values in _values_by_class(result).items() if METRICS.get(name).in_table}
    if not lists:
        return
    listed = list(range(len(result.class_names)))
    if result.class_accuracy:
        listed = [index for index in listed if result.class_names[index] in result.class_accuracy]
    heading, order = _heading(result), lists.get("class_f1") or lists.get("f1")
    if len(listed) > MOST_CLASSES and order:
        known = [index for index in listed if order[index] is not None]
        heading = f"worst of {len(listed):,}"
        listed = sorted(known, key=lambda index: order[index] or 0.0)[:WORST]
    rows = [
        [result.class_names[index], *(_format(lists[name][index], METRICS.get(name).format) for name in lists)]
        for index in listed
    ]
    console.print_blank()
    console.print_table([heading, *(METRICS.get(name).label for name in lists)], rows, numbers=len(lists))
    if heading.startswith("worst"):
        console.print_line(f"All {_several(result)}: --format csv")


def _print_confused(result: "Evaluation") -> None:
    from tl_toolkit.metrics.confusion import confusion_counts, most_confused

    pairs = most_confused(confusion_counts(result.predictions), CONFUSED)
    if pairs:
        names = result.class_names
        rows = [[names[true], names[predicted], f"{images:,}"] for true, predicted, images in pairs]
        console.print_blank()
        console.print_table(["class", "most often taken for", "images"], rows, numbers=1)


def _print_coverage(result: "Evaluation", temperature: float) -> None:
    """Print how many more answers are right if the model answers only where it is sure enough."""
    from tl_toolkit.metrics.calibration import coverage_rows
    from tl_toolkit.metrics.intervals import wilson

    answers = coverage_rows(result.predictions, temperature)
    if len(answers) < 2 or answers[0].right == answers[0].images:
        return
    rows = [
        [
            f"{100 * row.threshold:.0f} %" if row.answered < row.images else "any",
            console.percent(row.coverage),
            console.percent(row.accuracy),
            console.percents(wilson(row.right, row.answered)),
        ]
        for row in answers
    ]
    console.print_blank()
    console.print_table(["answers from", "answered", "right", "95 % interval"], rows, numbers=4)


def _heading(result: "Evaluation") -> str:
    return "label" if result.scores.task == "multi-label" else "class"


def _several(result: "Evaluation") -> str:
    return "labels" if result.scores.task == "multi-label" else "classes"


def _format(value: float | None, how: str) -> str:
    """Return a metric's value for people; nothing for None."""
    if how == "count" and value is not None:
        return f"{value:,.0f}"
    return console.percent(value) if value is None or how == "percent" else f"{value:.4f}"
